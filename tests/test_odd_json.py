"""Values of another type in JSON files and checkpoints. tests/fuzzing.py found each of them."""

import json

import pytest
from test_outputs import SCORES

import tuneThreshold
from common.errors import InputError
from common.trial_kinds import TRIAL_KINDS
from network.stored_options import require_options
from training.run_folder import contents_of_line

LINE = {"epoch": 1, "step": 4, "loss": 1.5, "EER": 9.5}
ODD = ({"a": 1}, 10**400, "text", None, [], True)


def change(path, name, value):
    """Replaces a value in a file of JSON."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))


def fails(capsys, *words):
    """Whether a command of tuneThreshold.py ends with one line that is an error."""
    assert tuneThreshold.main([str(word) for word in words]) == 2
    err = capsys.readouterr().err
    return err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["epoch", "loss", "EER"])
def test_log_of_a_run(capsys, tmp_path, name, value):
    (tmp_path / "log.jsonl").write_text(json.dumps(LINE | {name: value}) + "\n")
    assert fails(capsys, "plot", tmp_path)
    assert fails(capsys, "report", tmp_path, "--output", tmp_path / "page.html")


@pytest.mark.parametrize("value", [each for each in ODD if not isinstance(each, int)] + [True])
def test_log_of_a_run_to_resume(value):
    assert contents_of_line(json.dumps(LINE)) == LINE
    for name in LINE:
        assert contents_of_line(json.dumps(LINE | {name: value})) is None


def test_calibration(capsys, tmp_path):
    scores, calibration, new = (tmp_path / name for name in ("s.txt", "c.json", "new.txt"))
    scores.write_text(SCORES)
    values = [(name, value) for name in ("offset", "weights", "trained_on") for value in ODD]
    for name, value in [*values, ("offset", "1"), ("weights", ["1"]), ("targets", "1")]:
        calibration.unlink(missing_ok=True)
        assert tuneThreshold.main(["calibrate", str(scores), "--output", str(calibration)]) == 0
        if (name, value) == ("trained_on", []):
            continue
        change(calibration, name, value)
        assert fails(capsys, "apply", calibration, scores, "--output", new), (name, value)


def test_fusion(capsys, tmp_path):
    scores, cm, fusion, new = (tmp_path / name for name in ("s.txt", "cm.txt", "f.json", "new.txt"))
    for path, step in ((scores, 7), (cm, 5)):
        lines = [f"s{i % 4} f{i} {TRIAL_KINDS[i % 3]} {i % step}.5\n" for i in range(36)]
        path.write_text("".join(lines))
    values = [(name, value) for name in ("trials", "costs", "threshold") for value in ODD]
    for name, value in [*values, ("trained_on", 1), ("trials", {"target": 1})]:
        fusion.unlink(missing_ok=True)
        words = ["fuse", str(scores), "--cm", str(cm), "--output", str(fusion)]
        assert tuneThreshold.main(words) == 0
        capsys.readouterr()
        change(fusion, name, value)
        words = ["apply", fusion, scores, "--cm", cm, "--output", new]
        assert fails(capsys, *words), (name, value)


@pytest.mark.parametrize("part", ["model", "encoder_type", "trainfunc", "optimizer", "scheduler"])
def test_parts_of_a_network_in_a_checkpoint(part):
    stored = {"model": "VGG3L", "encoder_type": "SAP", "trainfunc": "softmax", "optimizer": "adam"}
    require_options("x.model", stored)
    for value in (None, 3, []):
        with pytest.raises(InputError, match=f"^x.model: expected one of .* for --{part} in this"):
            require_options("x.model", stored | {part: value})
