"""Reads the pages of the documentation: their sections and the commands in their code blocks."""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("C*.md")), *sorted((ROOT / "docs").glob("*.md")))
# The pages of the systems. tests/test_coming_from.py runs their commands, page by page.
SYSTEMS = (
    "voxceleb",
    "cross_attentive_pooling",
    "double_attention",
    "embedding_enhancement",
    "spoofing",
)
SYSTEM_PAGES = {name: ROOT / "docs" / f"{name}.md" for name in SYSTEMS}
HEADING = re.compile(r"^##+ +(.+)$")


def section_lines(page: Path, headings: Iterable[str] | None = None) -> list[str]:
    """Returns the lines of some sections of a page; by default all lines of the page.

    headings: titles of second-level sections.
    """
    lines = page.read_text().splitlines()
    if headings is None:
        return lines
    wanted = set(headings)
    missing = wanted - {line[3:].strip() for line in lines if line.startswith("## ")}
    assert not missing, f"{page.name} has no section {sorted(missing)}"
    found = []
    inside = False
    for line in lines:
        if line.startswith("## "):
            inside = line[3:].strip() in wanted
        if inside:
            found.append(line)
    return found


def shell_lines(lines: Iterable[str]) -> list[str]:
    """Returns the lines of the ```bash blocks. Lines that end in a backslash are joined."""
    commands = []
    inside = False
    unfinished = ""
    for line in lines:
        if line.startswith("```"):
            inside = line.strip() == "```bash"
            continue
        if not inside or not line.strip() or line.lstrip().startswith("#"):
            continue
        line = unfinished + line.strip()
        if line.endswith("\\"):
            unfinished = line[:-1]
        else:
            unfinished = ""
            commands.append(re.sub(r" +", " ", line))
    assert not unfinished, f"the last line of a block ends in a backslash: {unfinished}"
    return commands


def commands_of(page: Path, headings: Iterable[str] | None = None) -> list[str]:
    """Returns the commands of a page, or of some of its sections, in their order."""
    return shell_lines(section_lines(page, headings))
