"""Every number of the command line: an odd value works, or an error names the option."""

import ctypes
import gc
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import small_run

from options import OPTIONS
from options.option import LARGEST, Option
from options.parser import check_bounds
from options.plugins import PARTS, components, options_of
from options.training import number_or_auto

NUMBERS = (int, float, number_or_auto)
# Values that no option accepts, and values that some options accept.
ABSURD = ("nan", "inf", "-inf", "1e30", str(10**30), str(2**64), "9" * 5000)
ODD = ("-1", "0", "1", "2", "0.5", "1.5", "1e-300", str(LARGEST))


def cases():
    """Yields (part and component, or "", option) of all numbers."""
    for options in OPTIONS.values():
        for option in options:
            if option.kind in NUMBERS:
                yield "", option
    for part in PARTS:
        for name in components(part):
            for option in options_of(part, name):
                if option.kind in NUMBERS:
                    yield f"{part} {name}", option


CASES = list(cases())


def test_every_default_is_within_the_bounds():
    assert len(CASES) > 100
    for place, option in CASES:
        assert option.default is None or not option.expected(option.default), (place, option)
        # No option accepts a number that is larger than the largest seed.
        assert option.expected(2**64) and option.expected(-(2**64)), (place, option)
        assert option.most < LARGEST or option.most in (LARGEST, 2**63 - 1), (place, option)


@pytest.mark.parametrize(
    "value, message",
    [
        (0, "more than 0"),
        (1, "less than 1"),
        ([0.5, 2], "less than 1"),
        (math.nan, "more than 0"),
        (-math.inf, "more than 0"),
        (0.5, None),
        ([0.1, 0.9], None),
        ("auto", None),
        (True, None),
        (None, None),
    ],
)
def test_bounds_that_are_not_allowed_themselves(value, message):
    option = Option("p", float, 0.5, "", 0, most=1, between=True)
    assert option.expected(value) == message
    if message:
        with pytest.raises(ValueError, match=f"^p: expected {message}, found "):
            check_bounds(option, value, "p")
    else:
        check_bounds(option, value, "p")


@pytest.mark.parametrize(
    "words, message",
    [
        ("--speed_perturb --speed_factors 1e9", "--speed_factors: expected at most 2, found"),
        ("--dcf_p_target 1", "--dcf_p_target: expected less than 1, found 1.0."),
        ("--dcf_c_miss 0", "--dcf_c_miss: expected more than 0, found 0.0."),
        ("--lr 1e30", "--lr: expected at most 1000, found 1e+30."),
        ("--max_epoch 1e3", "--max_epoch: expected a whole number, found '1e3'."),
        (f"--max_epoch {10**30}", "--max_epoch: expected at most 2147483647, found 1000000"),
        ("--window_size 1e308", "--window_size: expected a smaller number, found '1e308'."),
        ("--window_size 1e9", "--window_size: expected at most 2.14748e+07 seconds, found 1e+09."),
        ("--trainfunc aamsoftmax --scale 1e9", "--scale: expected at most 10000, found"),
        ("--scheduler plateau --lr_decay 1", "--lr_decay: expected less than 1, found 1.0."),
        (
            "--nOut 4096 --nClasses 2147483647",
            "largest of its numbers is --nClasses 2147483647. Give a",
        ),
        ("--model VGGVox --nOut 2147483647", "largest of its numbers is --nOut 2147483647. Give"),
        ("--model MFA_Conformer --n_mels 2", "--n_mels: expected more bands for the convolution"),
        ("--model RawNet3 --eca_c 8 --sinc_stride 100 --max_frames 1", "--max_frames 1: these cr"),
    ],
)
def test_absurd_numbers_end_before_the_training(words, message, corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path / "run", *words.split()))
    assert code == 2 and message in err, err
    assert err.startswith("error: ") and not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["", *PARTS])
def test_odd_numbers_work_or_are_refused(part, tmp_path):
    """A process has little memory, and trains one update with each value of some options."""
    chosen = [i for i, (place, _) in enumerate(CASES) if place.partition(" ")[0] == part]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": root}
    first = 0
    problems = []
    while first < len(chosen):
        words = [sys.executable, __file__, tmp_path, *chosen[first:]]
        ended = subprocess.run(
            [*map(str, words)], capture_output=True, text=True, check=False, env=environment
        )
        reports = [json.loads(line) for line in ended.stdout.splitlines() if line[:1] == "{"]
        problems += [report for report in reports if "problem" in report]
        done = [report["case"] for report in reports]
        if ended.returncode:
            problems.append((done[-1:], ended.stderr[-1500:]))
        first = chosen.index(done[-1]) + 1 if done else len(chosen)
    assert not problems, f"{len(problems)} problems: " + "\n".join(map(str, problems[:10]))


# ---------------------------------------------------------------------- the process of the test
SMALL = {
    "model": "VGG3L",
    "kernel_size": 8,
    "heads_number": 4,
    "nOut": 8,
    "batch_size": 4,
    "nPerSpeaker": 2,
    "max_frames": 40,
    "eval_frames": 40,
    "num_eval": 1,
    "max_epoch": 1,
    "test_interval": 1,
    "max_steps": 1,
    "nDataLoaderThread": 0,
    "device": "cpu",
}
# Options without an effect unless others are given.
NEEDED = {
    "speed_factors": {"speed_perturb": ""},
    "top_n": {"score_norm": "asnorm", "cohort_list": "train.txt", "cohort_path": "wav"},
    "bucket_frames": {"eval_frames": 0},
    "num_spk": {"train_list": "spoofed.txt"},
}
# The beginning of a message about files, which the option has let pass.
RELATED = {"top_n": "error: --score_norm"}
# Losses of single utterances.
SINGLE = ("softmax", "aamsoftmax", "amsoftmax", "aamsoftmax_subcenter", "sphereface2")


def words_of(world, place, option, value):
    """The words of a training of one update with an odd value."""
    part, _, name = place.partition(" ")
    words = SMALL | {"train_list": "train.txt", "test_list": "trials.txt"}
    words |= {"train_path": "wav", "test_path": "wav"}
    words |= {part: name} if part else {}
    if name.startswith("MyLinear") or name in ("DA", "DA_MSE"):
        words |= {"train_list": "pairs.txt" if part == "trainfunc" else "npy.txt", "nOut": 16}
        words |= {"train_path": "npy", "test_list": "trials_npy.txt", "test_path": "npy"}
        words |= {"nPerSpeaker": 1, "activation": "ELU"}
        words |= {"model": "MyLinearNetv2"} if part != "model" else {"trainfunc": "MSE"}
    if name in SINGLE:
        words["nPerSpeaker"] = 1
    if not words["model"].startswith(("VGG3", "VGG4")):
        words = {key: value for key, value in words.items() if key not in ("kernel_size",)}
        words.pop("heads_number")
    if words["model"] in ("ECAPA_TDNN", "RawNet3", "SKA_TDNN"):
        words["eca_c"] = 64
    if words["model"].startswith("WavLM"):
        words["ssl_size"] = "tiny"
    if name.startswith(("sasv", "cm_", "adcf")):
        words["train_list"] = "spoofed.txt"
    words |= NEEDED.get(option.name, {}) | {"save_path": "run"}
    words.pop(option.name, None)
    lists = ("train_list", "train_path", "test_list", "test_path", "cohort_list", "cohort_path")
    line = []
    for key, each in words.items():
        line += [f"--{key}", str(world / each) if key in lists else str(each)]
    return [*filter(None, line), f"--{option.name}={value}"]


def make_embeddings(world, fuzz):
    """Writes embeddings, targets, and lists of them."""
    import numpy as np

    rng = np.random.default_rng(0)
    pairs, singles = [], []
    for speaker in fuzz.SPEAKERS:
        for file in range(3):
            path = world / "npy" / speaker / "x" / f"{file}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.standard_normal((1, 16)).astype("f4"))
            singles.append(f"{speaker} {speaker}/x/{file}.npy\n")
        np.save(world / "npy" / f"{speaker}.npy", rng.standard_normal(16).astype("f4"))
        pairs.append(f"{speaker} {speaker}/x/0.npy {speaker}/x/1.npy 1\n")
        pairs.append(f"{speaker} {speaker}/x/0.npy {speaker}/x/2.npy 0\n")
    trials = "".join(fuzz.TRIALS).replace("/", "/x/").replace(".wav", ".npy")
    (world / "trials_npy.txt").write_text(trials)
    (world / "npy.txt").write_text("".join(singles))
    (world / "pairs.txt").write_text("".join(pairs))
    lines = (world / "train.txt").read_text().splitlines()
    spoofed = [f"{line.split()[0]} {line.split()[1]} - - bonafide\n" for line in lines[:6]]
    spoofed += [f"{line.split()[0]} {line.split()[1]} - A01 spoof\n" for line in lines[6:]]
    (world / "spoofed.txt").write_text("".join(spoofed))


def problem_of(fuzzing, words, option, absurd):
    """Runs the program -> what is wrong, or None."""
    try:
        import trainSpeakerNet

        code, out, err = fuzzing.call(lambda: trainSpeakerNet.main(words))
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    if "Traceback" in out + err or code not in (0, 2):
        return f"exit code {code}: {err[-300:]}"
    named = f"--{option.name}" in err or err.startswith(RELATED.get(option.name, "?"))
    if absurd and not (code == 2 and err.startswith("error: ") and named):
        return f"exit code {code}: {err[-300:]}"
    # A learning rate or a factor within its bounds may still make the weights infinite.
    if code == 2 and not named and "finite" not in err:
        return f"the option is not named: {err[-300:]}"
    return None


def main(folder, *numbers):
    """Runs the odd values of the cases with these numbers."""
    import faulthandler

    import fuzz_seeds
    import fuzzing
    import torch

    torch.set_num_threads(1)
    world = Path(folder, "world")
    shutil.rmtree(world, ignore_errors=True)
    fuzz_seeds.make_world(world)
    make_embeddings(world, fuzz_seeds)
    fuzzing.limit_memory()
    libc = ctypes.CDLL(None)
    for number in map(int, numbers):
        place, option = CASES[number]
        # Frees the networks of the last case. Their parts refer to each other.
        gc.collect()
        libc.malloc_trim(0)
        for value in (*ABSURD, *ODD):
            if option.name == "nproc" and value in ("1", "2"):
                continue
            shutil.rmtree(Path(folder, "run"), ignore_errors=True)
            words = [*words_of(world, place, option, value), f"--save_path={folder}/run"]
            # The networks have their full size, and other tests may run at the same time.
            faulthandler.dump_traceback_later(4 * fuzzing.SECONDS, exit=True)
            problem = problem_of(fuzzing, words, option, value in ABSURD)
            faulthandler.cancel_dump_traceback_later()
            report = {"case": number, "place": place, "option": option.name, "value": value[:30]}
            report |= {"problem": problem} if problem else {}
            print(json.dumps(report), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
