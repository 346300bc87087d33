"""Downloads of published checkpoints from a server on loopback, and the catalogue of all of them.

pytest tests/test_published.py
"""

import hashlib
import io
import random
import zipfile
from pathlib import Path

import pytest
import yaml
from loopback import kill_until_done, run, tree

from prep import download
from prep.constants import CATALOGUES
from prep.published import FRONT_END, read_published

ROOT = Path(__file__).parent.parent
WEIGHTS = random.Random(0).randbytes(5000)
CONFIG = b"model: ResNet34\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No waiting, small chunks, and no passwords of the user who runs the tests."""
    monkeypatch.setattr(download, "FIRST_WAIT", 0)
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def zipped(**members):
    """Returns a zip file with these members in a folder."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"voxceleb/{name.replace('_', '.')}", data)
    return file.getvalue()


@pytest.fixture
def get(server, tmp_path, capsys):
    """get(NAME) downloads from a catalogue of a plain file and a zip file.

    It returns the exit code and the printed text.
    """
    server.files["weights.bin"] = WEIGHTS
    server.files["net.zip"] = zipped(avg_pt=WEIGHTS, config_yaml=CONFIG)
    common = {"project": "lab", "licence": "MIT", "trained_on": "VoxCeleb2 dev"}
    plain = {"model": "CAMPPlus", "file": "weights.bin", "folder": "release", "eer": "0.73"}
    plain |= {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)}
    archive = {"model": "ResNet", "file": "net.zip", "member": "avg.pt", "config": "config.yaml"}
    table = {
        "hosts": {"lab": f"{server.url}/{{folder}}/{{name}}"},
        "checkpoints": {
            "plain": {**common, **plain, "options": {"model": "CAMPPlus", "threshold": 0.5}},
            "zipped": {**common, **archive},
        },
    }
    path = tmp_path / "checkpoints.yaml"

    def call(name, *words, **fields):
        for entry in table["checkpoints"].values():
            entry |= fields
        path.write_text(yaml.safe_dump(table))
        capsys.readouterr()
        code = run("checkpoint", name, "--output", tmp_path / "out", "--file_list", path, *words)
        return code, "".join(capsys.readouterr())

    return call


def test_a_plain_file_gets_the_name_of_the_checkpoint(get, tmp_path):
    code, text = get("plain")
    assert code == 0
    found = tree(tmp_path / "out")
    assert found.pop("MD5SUMS")
    assert yaml.safe_load(found.pop("plain.yaml")) == {"model": "CAMPPlus", "threshold": 0.5}
    assert found == {"plain.model": WEIGHTS}
    for words in ("VoxCeleb2 dev", "MIT", "0.73", "--initial_model", "plain.model"):
        assert words in text


def test_an_archive_becomes_a_checkpoint_and_its_options(get, server, tmp_path):
    assert get("zipped")[0] == 0
    found = tree(tmp_path / "out")
    assert found.pop("MD5SUMS")
    assert found == {"zipped.model": WEIGHTS, "zipped.yaml": CONFIG}
    server.requests.clear()
    assert get("zipped")[0] == 0
    assert not server.requests


@pytest.mark.parametrize("name", ["plain", "zipped"])
def test_a_broken_download_resumes(get, server, tmp_path, name):
    file = {"plain": "weights.bin", "zipped": "net.zip"}[name]
    # The first response is only asked for the length.
    server.cuts[file] = [None, 3000]
    assert get(name)[0] == 0
    assert tree(tmp_path / "out")[f"{name}.model"] == WEIGHTS
    assert (file, "bytes=3000-") in [request[:2] for request in server.requests]


@pytest.mark.parametrize("name", ["plain", "zipped"])
def test_killed_at_random_steps(get, tmp_path, name):
    words = ["checkpoint", name, "--output", tmp_path / "out"]
    words += ["--file_list", tmp_path / "checkpoints.yaml"]
    get("nothing")
    kill_until_done(words, seed=1, furthest=8)
    found = tree(tmp_path / "out")
    assert found[f"{name}.model"] == WEIGHTS
    assert not [path for path in found if path.endswith((".part", ".zip", ".version"))]


@pytest.mark.parametrize("field", ["size", "sha256"])
def test_another_file_is_refused(get, tmp_path, field):
    wrong = {"size": 4999, "sha256": "0" * 64}[field]
    code, text = get("plain", **{field: wrong})
    assert code == 2
    assert f"{wrong:,}" in text if field == "size" else wrong in text
    assert not tree(tmp_path / "out")


def test_existing_files_are_kept(get, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "zipped.yaml").write_text("mine")
    (tmp_path / "out" / "plain.model").write_text("mine")
    for name in ("plain", "zipped"):
        code, text = get(name)
        assert code == 2 and "Move" in text
    found = tree(tmp_path / "out")
    assert (found["zipped.yaml"], found["plain.model"]) == (b"mine", b"mine")
    assert "zipped.model" not in found


@pytest.mark.parametrize("data", [b"no zip file", zipped(other=WEIGHTS), zipped(avg_pt=WEIGHTS)])
def test_a_wrong_archive_writes_no_checkpoint(get, server, tmp_path, data):
    server.files["net.zip"] = data
    code, text = get("zipped")
    assert code == 2 and "Traceback" not in text
    assert not [path for path in tree(tmp_path / "out") if path.startswith("zipped.m")]


def test_a_wrong_name_gets_a_suggestion(get):
    code, text = get("plane")
    assert code == 2 and "Did you mean plain?" in text


@pytest.mark.parametrize(
    "fields", [{"sise": "5"}, {"sha256": "5"}, {"project": "nobody"}, {"file": ""}]
)
def test_a_wrong_field_is_named(get, fields):
    code, text = get("plain", **fields)
    assert code == 2
    assert all(word in text for pair in fields.items() for word in pair)


def test_every_entry_of_the_catalogue_can_be_requested(capsys):
    table = read_published(CATALOGUES / "checkpoints.yaml")
    models = {path.stem for path in (ROOT / "models").glob("[!_]*.py")}
    for name, published in table.items():
        assert published.fields["model"] in {*models, FRONT_END}, name
        job = download.job_of(published.source(), Path(), *host_of(published))
        assert job.url.startswith("https://") and "{" not in job.url, name
    assert run("checkpoint") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in table)


def host_of(published):
    """Returns the catalogue and the access for the URL of a checkpoint."""
    return download.Catalogue(published.base_url, None, [], {}), download.Access()
