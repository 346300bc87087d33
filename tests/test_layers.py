"""Imports point downwards: what each place of the program may import, and what it loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUG_INS = {"models", "pooling", "loss", "optimizer", "scheduler"}
DATA = {"corpus", "common"}
# The layers, from the top to the bottom: a place and everything that it may import directly.
MAY_IMPORT = {
    "trainSpeakerNet": {
        "training", "inference", "network", "options", "DatasetLoader", "distributed",
    } | DATA,
    "dataprep": {"prep", "metrics"} | DATA,
    "tuneThreshold": {"metrics", "report"} | DATA,
    "training": {
        "inference", "SpeakerNet", "DatasetLoader", "network", "options", "report", "metrics",
        "distributed",
    } | DATA,
    "inference": {"SpeakerNet", "DatasetLoader", "network", "options", "metrics", "distributed"}
    | PLUG_INS
    | DATA,
    "SpeakerNet": {"network", "distributed"} | PLUG_INS | DATA,
    "DatasetLoader": DATA,
    "network": {"options", "common"} | PLUG_INS,
    "options": {"metrics"} | PLUG_INS | DATA,
    "report": {"metrics"} | DATA,
    "prep": {"metrics", "models", "synthesis"} | DATA,
    "synthesis": {"common"},
    "metrics": {"common"},
    "corpus": {"common"},
    "models": {"pooling", "common"},
    "pooling": {"common"},
    "loss": {"common"},
    "optimizer": {"common"},
    "scheduler": {"common"},
    "distributed": {"common"},
    "common": set(),
}  # fmt: skip


def place_of(path: Path) -> str:
    """The package of a file, or the name of a file at the top level."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def program_files() -> list[Path]:
    files = list(ROOT.glob("*.py"))
    for place in MAY_IMPORT:
        files += (ROOT / place).rglob("*.py")
    return files


def imported_places(path: Path) -> set[str]:
    """The places that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import with its package"
            found.add(node.module.partition(".")[0])
    return found & MAY_IMPORT.keys() - {place_of(path)}


def test_every_file_has_a_place():
    """A new file at the top level or a new package belongs into the table."""
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    files = {path.stem for path in ROOT.glob("*.py")}
    assert folders | files == MAY_IMPORT.keys()


@pytest.mark.parametrize("path", program_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    place = place_of(path)
    wrong = imported_places(path) - MAY_IMPORT[place]
    assert not wrong, (
        f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}, which is above "
        f"{place}; move the shared part down, for instance into common/, or pass it as an argument"
    )


def test_the_table_has_no_circles():
    """A place imports only places that stand below it in the table, except plug-ins."""
    order = [*MAY_IMPORT]
    for number, place in enumerate(order):
        above = MAY_IMPORT[place] & {*order[:number]}
        assert not above, f"{place} may import {above}, which stand above it"


@pytest.mark.parametrize("program", ["dataprep", "tuneThreshold"])
def test_help_without_torch(program):
    """--help of the programs that need no network loads neither torch nor matplotlib."""
    code = (
        "import sys; sys.argv = [sys.argv[1] + '.py', '--help']; import runpy\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'torch', 'torchaudio', 'matplotlib'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")
