# Every target works from a bare clone: it makes .venv when there is none (PYTHON=python3.x chooses
# the interpreter).
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test test-slow lint bench
.DEFAULT_GOAL := test

.venv/.installed: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "want python >= 3.10, got " + sys.version)'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: .venv/.installed
	$(PY) dataprep.py --synthetic data/synthetic
	$(PY) trainSpeakerNet.py --config configs/demo.yaml
	$(PY) tuneThreshold.py exps/demo/result/scores.txt
	@echo
	@echo "Epoch 0 above is the untrained network, the last epoch the trained one; exps/demo/result/scores_det.png is its DET curve. Next:"
	@echo "  $(PY) trainSpeakerNet.py --config configs/demo.yaml --max_epoch 40 --save_path exps/longer      train for longer"
	@echo "  $(PY) trainSpeakerNet.py --help                                                                 all options"
	@echo "  configs/speechocean_mini.yaml trains on real speech; README tells how to use your own lists."

# Only for dataprep.py --vocoders world, and it takes a compiler: tests that need it are skipped where
# it cannot be built.
.venv/.optional: .venv/.installed requirements-optional.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-optional.txt \
		|| echo "without requirements-optional.txt"
	touch $@

test: .venv/.installed .venv/.optional
	$(PY) -m pytest -n 2

test-slow: .venv/.installed .venv/.optional
	$(PY) -m pytest -n 2 -m slow

lint: .venv/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	$(PY) tests/style.py
	$(PY) -m mypy

bench: .venv/.installed
	$(PY) tests/bench.py
