# Every target works from a bare clone: it makes .venv when there is none (PYTHON=python3.x chooses
# the interpreter).
PYTHON ?= python3
PY := .venv/bin/python

# Two recordings of one test speaker of the demo.
UTTERANCES = data/synthetic/wav/id10041/rec01/00001.wav data/synthetic/wav/id10041/rec02/00001.wav

.PHONY: demo test test-slow lint bench
.DEFAULT_GOAL := test

.venv/.installed: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "expected Python 3.10 or newer, found " + sys.version)'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: .venv/.installed
	$(PY) dataprep.py synthetic data/synthetic
	$(PY) trainSpeakerNet.py --config configs/demo.yaml
	$(PY) tuneThreshold.py exps/demo/result/scores.txt
	$(PY) trainSpeakerNet.py --verify $(UTTERANCES) --initial_model exps/demo/model/best.model
	@echo
	@echo "Epoch 0 above is the untrained network. The test speakers were not in the training data."
	@echo "The DET curve is in exps/demo/result/scores_det.png."
	@echo "The last command compared two recordings of one test speaker. What to try next:"
	@echo "  $(PY) tuneThreshold.py report exps/demo   makes a page about the run"
	@echo "  $(PY) trainSpeakerNet.py --help           shows the options"
	@echo "README.md names the page for each system and for your own speech."

# WORLD, for dataprep.py copy-synthesis, needs a compiler. Tests that need it are skipped where it
# cannot be built.
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
	$(PY) tests/prose.py
	$(PY) -m mypy

bench: .venv/.installed
	$(PY) tests/bench.py
