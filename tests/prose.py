"""Checks the texts that people read. `make lint` runs it.

python tests/prose.py            checks everything, prints a table of figures and every violation
python tests/prose.py FILE...    checks these files alone

Pages (README.md, docs/*.md, ...): a sentence has at most 25 words, a paragraph at most 5 lines of
100 columns, and a line at most 100 columns. Tables, code blocks and links may be wider. Pages,
configs, and all texts and comments of the program: none of the words in HOME_MADE.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SENTENCE_WORDS = 25
PARAGRAPH_LINES = 5
COLUMNS = 100
SKIPPED = {".venv", ".git", ".pytest_cache", "exps", "data", "reference"}
# Words that stood for standard terms once, and the standard terms.
HOME_MADE = {
    r"(?<!\bI )(?<!\byou )wants?|wanted": "expected, needs or requires",
    r"tells?|told|telling": "print, report, show or state",
    r"goes on|go on|going on|went on": "resume or continue",
    r"so many|so much|as many as fit": "a number, or 'N'",
    r"of these|of those": "the noun",
    r"that of|those of": "the noun",
    r"stands for|stand for|stands before|stands beside": "means, or comes before",
    r"lies beside|lie beside|lies|lie": "is stored in, or is next to",
    r"likewise|moreover|thereof|lest|unasked|wherefore": "also, or leave it out",
    r"mends?|mended": "repairs",
    r"at hand": "available",
}
HOME_MADE_WORD = re.compile(rf"\b(?:{'|'.join(HOME_MADE)})\b", re.I)
# A sentence ends where a stop is followed by a blank and the start of another one.
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)(?<!vs\.)[*_)\"”]*\s+(?=\S)")
# A run of characters with at least one letter or digit.
WORD = re.compile(r"\S*[^\W_]\S*")
CODE_SPAN = re.compile(r"`+[^`]*`+")
LINK = re.compile(r"!?\[([^]]*)\]\([^)]*\)")
BLOCK_START = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+|^#+\s|^\s*>|^<")


class Problem(NamedTuple):
    """A violation: the line, and what to do."""

    line: int
    text: str


class Block(NamedTuple):
    """A paragraph, an item of a list, a heading or the cell of a table."""

    line: int
    kind: str
    text: str


class Figures(NamedTuple):
    """What is counted in one page or one folder."""

    words: int = 0
    longest_sentence: int = 0
    longest_paragraph: int = 0
    widest_line: int = 0
    home_made: int = 0


# ---------------------------------------------------------------------- pages
def blocks_of(text: str) -> Iterator[Block]:
    """Yields the blocks of a Markdown page without its code blocks."""
    start = 0
    lines: list[str] = []
    in_code = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        code = line.startswith("```")
        table = line.lstrip().startswith("|")
        indented_code = line.startswith("    ") and not lines
        ends = not line.strip() or code or table or BLOCK_START.match(line)
        if lines and (ends or in_code):
            yield Block(start, "paragraph", " ".join(lines))
            lines = []
        if code:
            in_code = not in_code
        elif in_code or indented_code or not line.strip():
            continue
        elif table:
            for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")):
                yield Block(number, "cell", cell.strip())
        elif line.startswith("#"):
            yield Block(number, "heading", line.lstrip("# "))
        elif not line.startswith("<"):
            if not lines:
                start = number
            lines.append(line.strip())


def plain(text: str) -> str:
    """Returns a text with every code span as one word, and links as their text."""
    return LINK.sub(r"\1", CODE_SPAN.sub("CODE", text))


def sentences_of(text: str) -> list[str]:
    """Splits a block into sentences."""
    return [part for part in SENTENCE_END.split(plain(text)) if part.strip()]


def count_words(sentence: str) -> int:
    """Returns the number of words. A sign such as '=' or '|' is no word."""
    return len(WORD.findall(sentence))


def home_made_words(text: str) -> list[str]:
    """Returns the home-made words in a text without its code spans."""
    return HOME_MADE_WORD.findall(CODE_SPAN.sub("", text))


def remedy_for(word: str) -> str:
    """Returns the message for a home-made word."""
    for pattern, terms in HOME_MADE.items():
        if re.fullmatch(pattern, word, re.I):
            return f"{word!r}: write {terms}"
    return f"{word!r}: use a standard term"


def wide_lines(text: str) -> Iterator[tuple[int, int]]:
    """Yields number and width of the lines of a page. Tables and lines with links are left out."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            in_code = not in_code
        exempt = line.lstrip().startswith(("|", "<", "![")) or LINK.search(line) is not None
        if in_code or not exempt:
            yield number, len(line)


def check_page(path: Path) -> tuple[Figures, list[Problem]]:
    """Counts the figures of a page and finds its violations."""
    text = path.read_text(encoding="utf-8")
    problems = []
    words = 0
    longest_sentence = 0
    longest_paragraph = 0
    home_made = 0
    for block in blocks_of(text):
        for word in home_made_words(block.text):
            home_made += 1
            problems.append(Problem(block.line, remedy_for(word)))
        for sentence in sentences_of(block.text):
            length = count_words(sentence)
            words += length
            longest_sentence = max(longest_sentence, length)
            if length > SENTENCE_WORDS:
                beginning = " ".join(sentence.split()[:6])
                advice = f"a sentence of {length} words, at most {SENTENCE_WORDS}: {beginning} ..."
                problems.append(Problem(block.line, advice))
        if block.kind == "paragraph":
            lines = -(-len(LINK.sub(r"\1", block.text)) // COLUMNS)
            longest_paragraph = max(longest_paragraph, lines)
            if lines > PARAGRAPH_LINES:
                advice = f"a paragraph of {lines} lines, at most {PARAGRAPH_LINES}"
                problems.append(Problem(block.line, advice))
    widest = 0
    for number, width in wide_lines(text):
        widest = max(widest, width)
        if width > COLUMNS:
            problems.append(Problem(number, f"{width} columns, at most {COLUMNS}"))
    figures = Figures(words, longest_sentence, longest_paragraph, widest, home_made)
    return figures, sorted(problems)


# ---------------------------------------------------------------------- program
def texts_of_python(source: str) -> Iterator[Block]:
    """Yields the strings, docstrings and comments of a Python file."""
    for node in ast.walk(ast.parse(source)):
        # A single word is a name or a key.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield Block(node.lineno, "string", node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Block(token.start[0], "comment", token.string)


def check_python(path: Path) -> tuple[Figures, list[Problem]]:
    """Counts the words of the texts in a Python file and finds home-made words."""
    problems = []
    words = 0
    for block in texts_of_python(path.read_text(encoding="utf-8")):
        words += count_words(block.text)
        for word in home_made_words(block.text):
            problems.append(Problem(block.line, remedy_for(word)))
    return Figures(words, home_made=len(problems)), sorted(problems)


def check_comments(path: Path) -> tuple[Figures, list[Problem]]:
    """The same for the comments of a YAML file or a Makefile."""
    problems = []
    words = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        comment = line.partition("#")[2]
        words += count_words(comment)
        for word in home_made_words(comment):
            problems.append(Problem(number, remedy_for(word)))
    return Figures(words, home_made=len(problems)), problems


# ---------------------------------------------------------------------- report
def check(path: Path) -> tuple[Figures, list[Problem]]:
    """Checks one file by its kind."""
    if path.suffix == ".md":
        return check_page(path)
    if path.suffix == ".py":
        return check_python(path)
    return check_comments(path)


def all_files() -> list[Path]:
    """Returns the pages, configs and Python files of the repository."""
    files = []
    for pattern in ("*.md", "*.yaml", "*.py", "Makefile"):
        for path in sorted(ROOT.rglob(pattern)):
            # This file and the table of banned names contain the words.
            tools = path.name in ("prose.py", "style.py")
            if not tools and not SKIPPED & {*path.relative_to(ROOT).parts}:
                files.append(path)
    return files


def place_of(path: Path) -> str:
    """Returns the row of the table that a file belongs to: a page, or a folder."""
    relative = path.relative_to(ROOT)
    if path.suffix == ".md" or len(relative.parts) == 1:
        return str(relative)
    return f"{relative.parts[0]}/*{path.suffix}"


def sum_of(a: Figures, b: Figures) -> Figures:
    """Returns the figures of two files together."""
    return Figures(
        a.words + b.words,
        max(a.longest_sentence, b.longest_sentence),
        max(a.longest_paragraph, b.longest_paragraph),
        max(a.widest_line, b.widest_line),
        a.home_made + b.home_made,
    )


def main(names: list[str]) -> int:
    paths = [Path(name).resolve() for name in names] or all_files()
    table: dict[str, Figures] = {}
    count = 0
    for path in paths:
        figures, problems = check(path)
        place = place_of(path)
        table[place] = sum_of(table.get(place, Figures()), figures)
        count += len(problems)
        for problem in problems:
            print(f"{path.relative_to(ROOT)}:{problem.line}: {problem.text}")
    print(f"{'':32} words  longest sentence  longest paragraph  widest line  home-made words")
    for place, row in table.items():
        print(
            f"{place:32} {row.words:5}  {row.longest_sentence:10} words  "
            f"{row.longest_paragraph:11} lines  {row.widest_line:11}  {row.home_made:15}"
        )
    print(f"prose: {count} problems in {len(paths)} files")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
