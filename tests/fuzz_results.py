"""Further files that tests/fuzzing.py damages: results of the programs, and tables of others."""

import json
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_seeds import (
    FILES,
    SPEAKERS,
    TRIALS,
    Seed,
    after,
    make_world,
    prepare,
    train,
    tune,
    untrained,
    use,
)

WORDS_OF_KINDS = ("target", "nontarget", "spoof")


def scores_of(seed: int) -> str:
    """Returns a scores file of TRIALS."""
    rng = np.random.default_rng(seed)
    return "".join(f"{line.strip()} {rng.normal() + int(line[0]):.4f}\n" for line in TRIALS)


def aware_scores(seed: int) -> str:
    """Returns spoofing-aware scores."""
    lines = []
    for i, x in enumerate(np.random.default_rng(seed).normal(size=36)):
        lines.append(f"{SPEAKERS[i % 4]} {FILES[i % 12]} {WORDS_OF_KINDS[i % 3]} {x:.4f}\n")
    return "".join(lines)


def odd_json(data: bytes, rng: random.Random) -> bytes:
    """Returns a file of JSON, whose first object has an odd value."""
    values = (None, -1, 0, 1e308, 10**400, float("nan"), "text", "1", [], [[1]], {}, {"a": 1}, True)
    lines = data.decode().splitlines()
    is_log = lines[0] != "{"
    contents = json.loads(lines[0] if is_log else data)
    contents[rng.choice([*contents])] = rng.choice(values)
    others = lines[1:] if is_log else []
    return "".join(f"{line}\n" for line in [json.dumps(contents), *others]).encode()


def write_embeddings(folder: Path) -> None:
    """Writes embeddings of the files, two crops of 8 numbers each."""
    for number, name in enumerate(FILES):
        path = (folder / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        x = np.random.default_rng(number).standard_normal((2, 8))
        np.save(path, x.astype(np.float32))


def results(world: Path, output: Path) -> list[Seed]:
    """Calibrations, fusions, back ends, scores of single files, and logs of runs."""
    make_world(world)
    write_embeddings(world / "npy")
    files = []
    codecs = []
    for i, name in enumerate(FILES):
        kind = "- bonafide" if i % 2 else "A01 spoof"
        files.append(f"{name} {kind} {i}.5\n")
        codecs.append(f"{name} {name[:3]} C0{i % 3} {kind} {i}.5\n")
    log = []
    for i in (1, 2, 3):
        log.append(json.dumps({"epoch": i, "step": 4 * i, "loss": 1 / i, "EER": 9.5}) + "\n")
    texts = {
        "a.txt": scores_of(0),
        "b.txt": scores_of(1),
        "sv.txt": aware_scores(0),
        "cm.txt": aware_scores(1),
        "files.txt": "".join(files),
        "codecs.txt": "".join(codecs),
        "log/log.jsonl": "".join(log),
    }
    (world / "log").mkdir()
    for name, text in texts.items():
        (world / name).write_text(text)
    a, b, sv, cm = (world / name for name in ("a.txt", "b.txt", "sv.txt", "cm.txt"))
    new = ("--output", output / "new.txt")
    fused, with_cm, backend = (world / name for name in ("fused.json", "cm.json", "plda.npz"))
    embeddings = ("--embeddings", world / "npy")
    assert not tune("fuse", a, b, "--output", fused)
    assert not tune("fuse", sv, "--cm", cm, "--output", with_cm)
    stages = ("--stages", "mean", "plda")
    assert not tune("backend", world / "train.txt", *embeddings, "--output", backend, *stages)
    commands: dict[str, tuple] = {
        "fused.json": ("apply", fused, a, b, *new),
        "cm.json": ("apply", with_cm, sv, "--cm", cm, *new),
        "plda.npz": ("score", world / "trials_npy.txt", *embeddings, "--backend", backend, *new),
        "b.txt": ("average", a, b, *new),
        "cm.txt": (sv, "--cm", cm),
        "files.txt": (world / "files.txt", "--by", "attack"),
        "codecs.txt": (world / "codecs.txt", "--by", "codec", "speaker"),
        "log/log.jsonl": ("plot", world / "log", "--curves", output / "curves"),
    }
    (world / "trials_npy.txt").write_text("".join(TRIALS))
    seeds = []
    for name, words in commands.items():
        data = (world / name).read_bytes()
        make = partial(odd_json, data) if ".json" in name else None
        seeds.append(Seed(name, data, partial(tune, *words), make))
    return seeds


def tables(world: Path, output: Path) -> list[Seed]:
    """Kaldi folders, lists of features and embeddings, tables of speakers, and logs to resume."""
    make_world(world)
    utterances = {f"{name[:3]}-{name[4:-4]}": name for name in FILES}
    (world / "kaldi").mkdir()
    texts = {
        "kaldi/wav.scp": "".join(f"{key} {world}/wav/{name}\n" for key, name in utterances.items()),
        "kaldi/utt2spk": "".join(f"{key} {name[:3]}\n" for key, name in utterances.items()),
        "kaldi/trials": "id0-0 id0-1 target\nid0-0 id1-1 nontarget\n",
        "genders.txt": "".join(f"{speaker} {'mf'[i % 2]}\n" for i, speaker in enumerate(SPEAKERS)),
        "noise.txt": "".join(f"{name}\n" for name in FILES),
        "speakers.txt": "".join(f"{name} {name[:3]}\n" for name in FILES),
        "asvspoof5.tsv": "".join(
            f"{name[:3]} {name} M - - - AC1 {'A01 spoof' if i % 2 else 'bonafide bonafide'} -\n"
            for i, name in enumerate(FILES)
        ),
        "scores.txt": scores_of(0),
    }
    for name, text in texts.items():
        (world / name).write_text(text)
    folder = world / "run"
    lists = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    untrained(folder, *lists)
    (folder / "log.jsonl").write_text('{"epoch": 1, "step": 2, "loss": 1.5, "EER": 9.5}\n')
    kaldi = (
        "from-kaldi",
        world / "kaldi",
        "--output",
        output / "l.txt",
        "--trials",
        output / "t.txt",
    )
    made = ("make-list", world / "wav", "--output", output, "--test_speakers", 3, "--trials", 4)
    gendered = partial(prepare, *made, "--speaker_table", world / "genders.txt")
    extract = partial(use, "--extract", world / "noise.txt", "--test_path", world / "wav")
    extract = partial(extract, "--initial_model", folder / "model/last.model", "--output", output)
    spoofed = ("--train_list", world / "asvspoof5.tsv", "--train_path", world / "wav")
    by = (world / "scores.txt", "--worst", 3, "--speaker_table", world / "speakers.txt")
    copy = partial(shutil.copytree, folder, output, dirs_exist_ok=True)
    resume = partial(after, copy, partial(train, *lists, "--save_path", output))
    runs: dict[str, Callable[[], int | None]] = {
        "kaldi/wav.scp": partial(prepare, *kaldi),
        "kaldi/utt2spk": partial(prepare, *kaldi),
        "kaldi/trials": partial(prepare, *kaldi),
        "genders.txt": gendered,
        "noise.txt": extract,
        "asvspoof5.tsv": partial(train, "--save_path", output, *spoofed),
        "speakers.txt": partial(tune, *by),
        "run/log.jsonl": resume,
        "run/command.txt": resume,
    }
    seeds = [Seed(name, (world / name).read_bytes(), run) for name, run in runs.items()]
    log = (folder / "log.jsonl").read_bytes()
    return [*seeds, Seed("run/log.jsonl", log, resume, partial(odd_json, log))]


# What is damaged -> a function that returns the seeds.
FURTHER_KINDS: dict[str, Callable[[Path, Path], list[Seed]]] = {
    "results": results,
    "tables": tables,
}
