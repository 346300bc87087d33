"""Feeds damaged files to the program: the worker process of tests/test_fuzz.py.

python tests/fuzzing.py KIND FOLDER FIRST runs the inputs FIRST to COUNT - 1 of a kind. The damage
depends only on the kind and the number of the input. The worker prints a JSON line before each
input, and one for each problem. The memory of the process is limited, and an input that needs
more than SECONDS ends the process. The environment variable FUZZ_SEED, such as FUZZ_SEED=1, makes
another COUNT inputs of each kind. Without it the inputs are always the same.
"""

import contextlib
import faulthandler
import hashlib
import io
import json
import os
import random
import resource
import shutil
import sys
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from fuzz_results import FURTHER_KINDS  # noqa: E402
from fuzz_seeds import FIRST_KINDS, Seed, only_read  # noqa: E402

COUNT = 300
KINDS = FIRST_KINDS | FURTHER_KINDS
SECONDS = 30
# The number of the undamaged inputs, which the program must accept.
UNDAMAGED = -1
# Bytes that the process may allocate above what it has after the imports.
MEMORY = 2 << 30
# Any text that selects other random damage.
FUZZ_SEED = os.environ.get("FUZZ_SEED", "")
# Words that replace a word of a text, or are inserted into it.
WORDS = (
    *("", "0", "1", "2", "-1", "-0", "1e999", "nan", "inf", "-inf", "None", "null", "true", "~"),
    *("9" * 30, str(2**64), str(2**31), "1_0", "0x10", "1.5", "\x00", "\ufeff", "\u2028", "\x85"),
    *("\udc80", "ä", "../..", "/", "//", ".", "..", "-", "--lr", "spoof", "bonafide", "target"),
    *("nontarget", "a" * 5000, "[" * 300, "{" * 300, "- " * 300, "!!python/object:os.system", "%"),
    *(
        "2026-11-28",
        "2026-13-45",
        "12:30:00",
        "!!binary x",
        "!!set {a}",
        "&a [*a]",
        "<<: 1",
        "${X}",
    ),
    *("#", "|", ",", ",,", ";", "\t", "\r", "\r\n\r\n", "\n", "'", '"', "`", ":", ": :", "*", "?"),
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


# ---------------------------------------------------------------------- damage
def flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    """Flips 1 to 8 bits, half of the time near the beginning."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 256)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return data


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    """Cuts the end off."""
    return data[: rng.randrange(len(data))]


def insert_bytes(data: bytearray, rng: random.Random) -> bytearray:
    """Inserts random bytes."""
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.choice((1, 2, 7, 64, 1000))) + data[place:]


def swap_blocks(data: bytearray, rng: random.Random) -> bytearray:
    """Swaps two neighbouring blocks."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def write_numbers(data: bytearray, rng: random.Random) -> bytearray:
    """Writes a small or huge number over 1 to 8 bytes near the beginning or the end."""
    for _ in range(rng.randint(1, 3)):
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice(NUMBERS) & (1 << 8 * size) - 1
        place = rng.randrange(min(len(data), 128))
        if rng.random() < 0.3:
            place = len(data) - 1 - place
        data[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
    return data


def nest(data: bytearray, rng: random.Random) -> bytearray:
    """Inserts 2,000 brackets or blanks."""
    place = rng.randrange(len(data))
    return data[:place] + rng.choice((b"[", b"{", b"(", b" ", b"{a: ", b"- ")) * 2000 + data[place:]


def replace_word(data: bytearray, rng: random.Random) -> bytearray:
    """Replaces a word by an odd word."""
    words = bytes(data).split(b" " if rng.random() < 0.5 else b"\n")
    separator = b" " if bytes(data).count(b" ") + 1 == len(words) else b"\n"
    words[rng.randrange(len(words))] = rng.choice(WORDS).encode(errors="surrogateescape")
    return bytearray(separator.join(words))


def change_lines(data: bytearray, rng: random.Random) -> bytearray:
    """Removes a line, writes one twice, or moves one."""
    lines = bytes(data).split(b"\n")
    line = lines[rng.randrange(len(lines))]
    if rng.random() < 0.7:
        lines.remove(line)
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return bytearray(b"\n".join(lines))


def replace_value(data: bytearray, rng: random.Random) -> bytearray:
    """Replaces the value of a line 'name: value', or the last word of a line."""
    lines = bytes(data).split(b"\n")
    place = rng.randrange(len(lines))
    words = lines[place].split(b" ")
    words[-1] = rng.choice(WORDS).encode(errors="surrogateescape")
    lines[place] = b" ".join(words)
    return bytearray(b"\n".join(lines))


# Damage that leaves a text readable.
TEXT_DAMAGES = (replace_word, replace_value, change_lines)
DAMAGES = (flip_bits, truncate, insert_bytes, swap_blocks, write_numbers, nest, replace_word)


def damaged(seed: Seed, rng: random.Random) -> bytes:
    """Returns the contents of a damaged file."""
    if seed.make is not None and rng.random() < 0.5:
        return seed.make(rng)
    data = bytearray(seed.data)
    damages = TEXT_DAMAGES if seed.data.isascii() and rng.random() < 0.6 else DAMAGES
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            data = rng.choice(damages)(data, rng)
    return bytes(data)


# ---------------------------------------------------------------------- one input
def fingerprint(folder: Path) -> str:
    """Returns a checksum of the names and contents of all files below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(f"{path} {path.is_file()}\n".encode(errors="surrogateescape"))
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


def call(run: Callable[[], int | None]) -> tuple[object, str, str]:
    """Runs the program -> (exit code, standard output, standard error)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run() or 0
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def problem_of(seed: Seed, data: bytes, folder: Path) -> tuple[object, str | None]:
    """Runs the program on a damaged file -> (exit code, what is wrong or None)."""
    world = folder / "world"
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    path = world / seed.name
    path.write_bytes(data)
    before = fingerprint(world)
    try:
        code, out, err = call(seed.run)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        inner = [f"{Path(each.filename).name}:{each.lineno}" for each in place[-4:]]
        return None, f"{type(error).__name__}: {str(error)[:200]} ({' < '.join(inner[::-1])})"
    finally:
        changed = fingerprint(world) != before
        path.write_bytes(seed.data)
    if changed:
        return code, "a file was changed"
    if "Traceback" in out + err:
        return code, "a traceback was printed"
    if code not in seed.codes:
        return code, f"exit code {code} ({out[-200:]}{err[-200:]})"
    if code == 2 and "error: " not in err:
        return code, f"exit code 2 without an error: {err[:200]!r}"
    return code, None


def inputs_of(kind: str, folder: Path, first: int) -> Iterator[tuple[int, Seed, bytes]]:
    """Yields (number, seed, contents) of the files of a kind: undamaged ones, and damaged ones."""
    with contextlib.redirect_stdout(io.StringIO()):
        seeds = KINDS[kind](folder / "world", folder / "output")
    for seed in seeds:
        if seed.works and first == UNDAMAGED:
            yield UNDAMAGED, seed._replace(codes=seed.codes[:-1]), seed.data
    for number in range(max(first, 0), COUNT):
        rng = random.Random(zlib.crc32(f"{kind} {number} {FUZZ_SEED}".rstrip().encode()))
        seed = seeds[number % len(seeds)]
        yield number, seed, damaged(seed, rng)


def limit_memory() -> None:
    """Limits the memory of this process."""
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData"))
    limit = used * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def say(**values: object) -> None:
    """Prints a JSON line."""
    print(json.dumps(values), file=sys.__stdout__, flush=True)


def work(kind: str, folder: Path, first: int) -> None:
    """Runs the inputs of a kind and prints their problems."""
    torch.set_num_threads(1)
    only_read()
    shutil.rmtree(folder / "world", ignore_errors=True)
    (folder / "world").mkdir(parents=True)
    os.chdir(folder)
    codes: Counter[str] = Counter()
    failures = folder / "failures"
    failures.mkdir(exist_ok=True)
    limited = False
    for number, seed, data in inputs_of(kind, folder, first):
        if not limited:
            limit_memory()
            limited = True
        say(begin=number)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        code, problem = problem_of(seed, data, folder)
        codes[str(code)] += 1
        faulthandler.cancel_dump_traceback_later()
        if problem:
            (failures / f"{kind}-{number}-{Path(seed.name).name}").write_bytes(data)
            say(number=number, problem=problem)
    say(end=COUNT, codes=codes)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3]))
