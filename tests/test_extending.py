"""The page docs/extending.md: its files pass their contract tests and train.

The test works in a copy of the program, because the page adds files to it.
"""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from pages import ROOT, commands_of
from test_docs import small, words_of

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```python\n# (\S+?)(?:: (\w+))?\n(.*?)^```", re.M | re.S)
# The last line that pytest prints.
RESULT = re.compile(r"(\d+ passed).* in [\d.]+s")


def write_files(folder):
    """Write the files of the page, and insert the entries of tables."""
    for name, table, code in BLOCK.findall(PAGE.read_text()):
        path = folder / name
        if not table:
            assert not path.exists(), f"{name} is in the repository already"
            path.write_text(code)
            continue
        text = path.read_text()
        start = re.search(rf"^{table}\b.*= \{{\n", text, re.M).end()
        path.write_text(text[:start] + code + text[start:])


@pytest.fixture(scope="module")
def program(corpus, tmp_path_factory):
    """A copy of the program with the files of the page and a small corpus."""
    folder = tmp_path_factory.mktemp("program")
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in names:
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    write_files(folder)
    (folder / "data").mkdir()
    (folder / "data" / "synthetic").symlink_to(corpus)
    return folder


def run(words, folder):
    """Run a command in a folder. Returns what it prints. Fails if the command fails."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_files_of_the_page_pass_their_tests_and_train(program, corpus):
    sizes = small(corpus)
    del sizes["train_list"]
    outputs = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    tested = 0
    for command in commands_of(PAGE):
        words = shlex.split(command)
        if "dataprep.py" in words:
            continue
        if words[0] == "awk":
            subprocess.run(command, cwd=program, shell=True, check=True)
        elif "pytest" in words:
            printed = run([sys.executable, *words[1:]], program)
            assert RESULT.search(printed)[1] == RESULT.search(outputs[tested])[1], command
            tested += 1
        else:
            run([sys.executable, *words[1:], *words_of(sizes)], program)
            assert (program / words[words.index("--save_path") + 1] / "model").is_dir()
    assert tested == len(outputs) == 5
