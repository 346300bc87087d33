"""Damaged files of every kind: no traceback, no hang, no changed file, and limited memory.

tests/fuzzing.py feeds COUNT damaged files of a kind to the program in a process of its own.
tests/fuzz_seeds.py and tests/fuzz_results.py have the files and the commands. This shows one input
again:

python tests/fuzzing.py KIND EMPTY_FOLDER NUMBER

FUZZ_SEED=1 before this command, or before pytest, damages the files in other ways.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import COUNT, KINDS, SECONDS, UNDAMAGED


def run_worker(kind: str, folder: Path, first: int) -> tuple[int, list[str]]:
    """Runs the inputs from number `first` on -> (number that was begun last, problems).

    After the end of all inputs the number is COUNT.
    """
    worker = Path(__file__).with_name("fuzzing.py")
    command = [sys.executable, str(worker), kind, str(folder), str(first)]
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    problems = []
    last = UNDAMAGED - 1
    for line in ended.stdout.splitlines():
        report = json.loads(line)
        last = report.get("end", report.get("begin", last))
        if "problem" in report:
            problems.append(f"{kind} {report['number']}: {report['problem']}")
    if last != COUNT:
        how = f"the process ended with {ended.returncode}, or after {SECONDS} s"
        problems.append(f"{kind} {last}: {how}: {ended.stderr[-1500:]}")
    return last, problems


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, tmp_path):
    problems = []
    last = UNDAMAGED - 1
    while last < COUNT - 1:
        last, found = run_worker(kind, tmp_path, last + 1)
        problems += found
    print("\n".join(problems))
    assert not problems, f"{len(problems)} inputs of {kind}, first: " + "\n".join(problems[:10])
