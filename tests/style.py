"""Checks the rules of style that ruff does not know. `make lint` runs it.

python tests/style.py            prints every violation and a table of packages with their lines
python tests/style.py FILE...    checks these files alone

The rules: no nested comprehensions; no side effects inside a comprehension; no expression used as a
statement for its side effect; no text or list multiplied by a condition; at most two unrelated
values per assignment; comments above the line they explain (only shapes may stand behind it); no
top-level name in two modules; files of at most 400 lines; functions of at most 40 lines; packages
of at most a quarter of the code.
"""

import ast
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 40
PACKAGE_SHARE = 0.25
PLUG_INS = ("models", "pooling", "loss", "optimizer", "scheduler")
# Names that every program or plug-in has.
COMMON_NAMES = {"main", "log"}
# Words that stood for standard terms once.
BANNED = {
    "the_device", "already_told", "turn", "widen", "narrow", "together", "who", "told", "taken",
}  # fmt: skip
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
STATEMENTS = (ast.Call, ast.Constant, ast.Yield, ast.YieldFrom, ast.Await)
MUTATORS = {"append", "extend", "add", "update", "pop", "setdefault", "insert", "remove"}
SHAPE = re.compile(r"# (\[|noqa|type:|fmt:)")

Problem = tuple[int, str]


def python_files() -> list[Path]:
    """All Python files of the repository."""
    skipped = {".venv", ".git", "exps", "data"}
    files = []
    for path in sorted(ROOT.rglob("*.py")):
        if not skipped & {*path.relative_to(ROOT).parts}:
            files.append(path)
    return files


def is_test(path: Path) -> bool:
    return path.is_relative_to(ROOT / "tests")


# ---------------------------------------------------------------------- rules for every file
def comprehension_problems(tree: ast.AST) -> Iterator[Problem]:
    """Comprehensions inside comprehensions, and side effects inside comprehensions."""
    for outer in ast.walk(tree):
        if not isinstance(outer, COMPREHENSIONS):
            continue
        for inner in ast.walk(outer):
            if inner is not outer and isinstance(inner, COMPREHENSIONS):
                yield outer.lineno, "nested comprehension: write a loop, or name the inner one"
            if isinstance(inner, ast.Call) and getattr(inner.func, "attr", "") in MUTATORS:
                yield inner.lineno, f"side effect in a comprehension: .{inner.func.attr}(...)"


def statement_problems(tree: ast.AST) -> Iterator[Problem]:
    """Statements that do more than one thing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and not isinstance(node.value, STATEMENTS):
            yield node.lineno, "expression as a statement: write an if statement"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            target = node.targets[0]
            if isinstance(target, ast.Tuple) and len(target.elts) > 2:
                yield node.lineno, "three or more values in one assignment: one per line"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            sides = (node.left, node.right)
            sequence = any(is_text_or_list(side) for side in sides)
            if sequence and any(is_condition(side) for side in sides):
                yield node.lineno, "text or list times a condition: write a conditional expression"


def is_text_or_list(node: ast.AST) -> bool:
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple))


def is_condition(node: ast.AST) -> bool:
    negation = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return negation or isinstance(node, (ast.Compare, ast.BoolOp))


def comment_problems(path: Path) -> Iterator[Problem]:
    """Comments behind code that are more than a shape."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type != tokenize.COMMENT or SHAPE.match(token.string):
                continue
            if token.line[: token.start[1]].strip():
                yield token.start[0], "comment behind code: put it above the line"


# ---------------------------------------------------------------------- rules for the program
def length_problems(tree: ast.Module, lines: int) -> Iterator[Problem]:
    """Long files and functions. A docstring and the signature do not count."""
    if lines > FILE_LINES:
        yield lines, f"{lines} lines: a file has at most {FILE_LINES}"
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        length = node.end_lineno - body[0].lineno + 1 if body else 0
        if length > FUNCTION_LINES:
            yield (
                node.lineno,
                f"{node.name}: {length} lines, a function has at most {FUNCTION_LINES}",
            )


def name_problems(tree: ast.Module) -> Iterator[Problem]:
    """Names that stand for standard terms."""
    for node in ast.walk(tree):
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        name = name or getattr(node, "arg", None) or getattr(node, "name", None)
        if isinstance(name, str) and name in BANNED:
            yield getattr(node, "lineno", 1), f"{name!r}: use a standard term"


def duplicate_names(trees: dict[Path, ast.Module]) -> Iterator[tuple[Path, int, str]]:
    """Functions and classes that have one name in two modules."""
    places = defaultdict(list)
    for path, tree in trees.items():
        if path.parent.name in PLUG_INS:
            continue
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in COMMON_NAMES:
                places[node.name].append((path, node.lineno))
    for name, found in places.items():
        for path, line in found[1:]:
            other = found[0][0].relative_to(ROOT)
            yield path, line, f"{name!r} is the name of something in {other} too"


def package_lines(trees: dict[Path, ast.Module]) -> Counter:
    """Number of lines of every package; files of the top level count by themselves."""
    lines: Counter = Counter()
    for path in trees:
        place = path.relative_to(ROOT).parts[0]
        lines[place] += len(path.read_text(encoding="utf-8").splitlines())
    return lines


# ---------------------------------------------------------------------- report
def problems_of(path: Path, tree: ast.Module) -> list[Problem]:
    """All violations in one file."""
    found = [*comprehension_problems(tree), *statement_problems(tree), *comment_problems(path)]
    if not is_test(path):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        found += [*length_problems(tree, lines), *name_problems(tree)]
    return sorted(set(found))


def main(words: list[str]) -> int:
    paths = [Path(word).resolve() for word in words] or python_files()
    trees = {}
    count = 0
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not is_test(path):
            trees[path] = tree
        for line, text in problems_of(path, tree):
            count += 1
            print(f"{path.relative_to(ROOT)}:{line}: {text}")
    if not words:
        for path, line, text in duplicate_names(trees):
            count += 1
            print(f"{path.relative_to(ROOT)}:{line}: {text}")
        sizes = package_lines(trees)
        for place, lines in sizes.most_common():
            print(f"{place:20} {lines:6,} lines  {lines / sizes.total():6.1%}")
            if lines > PACKAGE_SHARE * sizes.total():
                count += 1
                print(f"{place}: over a quarter of the code")
    print(f"style: {count} problems in {len(paths)} files")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
