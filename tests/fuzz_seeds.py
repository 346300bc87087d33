"""The files that tests/fuzzing.py damages, and the commands that read them."""

import argparse
import io
import json
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import soundfile
import torch
import yaml

import dataprep
import trainSpeakerNet
import tuneThreshold
from network.publication import Facts, digest_of_publication, model_bytes
from network.safetensors_file import safetensors_bytes
from options import OPTIONS
from training.run import TrainingRun

RATE = 16000
SPEAKERS = [f"id{number}" for number in range(4)]
FILES = [f"{speaker}/{file}.wav" for speaker in SPEAKERS for file in range(3)]
TRIALS = [f"{int(a[:3] == b[:3])} {a} {b}\n" for a in FILES[:6] for b in FILES[1:6:2] if a != b]
NETWORK = (
    "--model VGG3L --kernel_size 4 --heads_number 4 --nOut 8 --device cpu --nDataLoaderThread 0"
)
SIZES = "--batch_size 4 --nPerSpeaker 2 --max_frames 30 --eval_frames 30 --num_eval 1 --max_epoch 1"
EMBEDDINGS = "--check --scoring cosine --device cpu --nDataLoaderThread 0"
# Formats of libsndfile, and their encodings.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "wavex": ("WAVEX", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
}


class Seed(NamedTuple):
    """A file that is damaged.

    name: its path below the world. data: its contents. run: calls the program, which reads the
    file, and returns the exit code. make: returns odd contents that are not damaged bytes. codes:
    the exit codes that are right, 2 as the last one. works: whether the undamaged file can be used.
    """

    name: str
    data: bytes
    run: Callable[[], int | None]
    make: Callable[[random.Random], bytes] | None = None
    codes: tuple[int, ...] = (0, 2)
    works: bool = True


# ---------------------------------------------------------------------- commands
def train(*words: object) -> int | None:
    """Prepares a training run completely, but does not train."""
    return trainSpeakerNet.main([*NETWORK.split(), *SIZES.split(), *map(str, words)])


def use(*words: object) -> int | None:
    """Runs trainSpeakerNet.py with a checkpoint."""
    more = "--device cpu --nDataLoaderThread 0 --eval_frames 30 --num_eval 1"
    return trainSpeakerNet.main([*more.split(), *map(str, words)])


def prepare(*words: object) -> int:
    """Runs dataprep.py."""
    return dataprep.main([str(word) for word in words])


def tune(*words: object) -> int:
    """Runs tuneThreshold.py without pictures."""
    return tuneThreshold.main([str(word) for word in words])


def after(*steps: Callable[[], object]) -> object:
    """Takes steps, and returns the result of the last one."""
    return [step() for step in steps][-1]


# ---------------------------------------------------------------------- the undamaged files
def saved(function: Callable, *values: object, **more: object) -> bytes:
    """Returns the bytes that a function writes to a file, which it gets first."""
    file = io.BytesIO()
    function(file, *values, **more)
    return file.getvalue()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Returns noise, float32 [samples]."""
    x = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return x.astype(np.float32)


def make_world(world: Path) -> None:
    """Writes speech of a few speakers, and lists."""
    for number, name in enumerate(FILES):
        path = world / "wav" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(0.5, number), RATE)
    (world / "train.txt").write_text(train_list())
    (world / "trials.txt").write_text("".join(TRIALS))


def untrained(folder: Path, *words: object) -> Path:
    """Saves the untrained network of a run. Returns its checkpoint."""
    without_training = TrainingRun.train
    TrainingRun.train = lambda run: run.save("last")
    assert not train(*words, "--save_path", folder)
    TrainingRun.train = without_training
    return folder / "model" / "last.model"


def train_list() -> str:
    """Returns the train list."""
    return "".join(f"{name[:3]} {name}\n" for name in FILES)


def lists(world: Path, output: Path) -> list[Seed]:
    """Lists of files and of trials."""
    make_world(world)
    root = ("--train_path", world / "wav", "--test_path", world / "wav")
    run = partial(train, "--save_path", output, *root)
    texts = {
        "train.txt": train_list(),
        "numbers.txt": "".join(f"{name} {name[2]} None\n" for name in FILES),
        "spoofceleb.csv": "file,speaker,attack\n"
        + "".join(f"{name},{name[:3]},a0{i % 2}\n" for i, name in enumerate(FILES)),
        "trials.txt": "".join(TRIALS),
        "unlabelled.txt": "".join(line[2:] for line in TRIALS),
        "trials.csv": "".join(",".join(line.split()) + "\n" for line in TRIALS),
    }
    seeds = []
    for name, text in texts.items():
        words = ["--train_list", world / name]
        if "train" not in name and name.startswith(("trials", "unlabelled")):
            words = ["--train_list", world / "train.txt", "--test_list", world / name]
        seeds.append(Seed(name, text.encode(), partial(run, *words)))
        check = ("check", world / name, "--path", world / "wav", "--output", output)
        command = partial(prepare, *check, "--processes", 1)
        seeds.append(Seed(name, text.encode(), command, codes=(0, 1, 2)))
    return seeds


def protocols(world: Path, output: Path) -> list[Seed]:
    """Lists of spoofing corpora, with their enrolment."""
    make_world(world)
    bona_fide = [f"{name[:3]} {name} - - bonafide\n" for name in FILES[:6]]
    spoofed = [f"{name[:3]} {name} - A01 spoof\n" for name in FILES[6:]]
    asv = []
    for speaker in SPEAKERS:
        for i, name in enumerate(FILES):
            kind = "target" if name[:3] == speaker else "nontarget"
            asv.append(f"{speaker} {name} {'A01 spoof' if i % 3 else f'bonafide {kind}'}\n")
    enrolment = "".join(f"{speaker} {speaker}/0.wav,{speaker}/1.wav\n" for speaker in SPEAKERS)
    (world / "asv.trl.txt").write_text("".join(asv))
    (world / "asv.trn.txt").write_text(enrolment)
    root = ("--train_path", world / "wav", "--test_path", world / "wav")
    run = partial(train, "--save_path", output, *root, "--train_list")
    trials = ("--test_list", world / "asv.trl.txt", "--enroll_list", world / "asv.trn.txt")
    both = partial(run, world / "train.txt", *trials)
    check = ("--path", world / "wav", "--output", output, "--processes", 1)
    cm = "".join([*bona_fide, *spoofed]).encode()
    return [
        Seed("cm.txt", cm, partial(run, world / "cm.txt")),
        Seed("asv.trl.txt", "".join(asv).encode(), both),
        Seed("asv.trn.txt", enrolment.encode(), both),
        Seed("cm.txt", cm, partial(prepare, "check", world / "cm.txt", *check), codes=(0, 1, 2)),
    ]


def configs(world: Path, output: Path) -> list[Seed]:
    """YAML files of options."""
    make_world(world)
    options = {
        "lr": 0.001,
        "seed": 7,
        "max_frames": 30,
        "batch_size": 4,
        "nPerSpeaker": 2,
        "trainfunc": "softmaxproto",
        "margin": 0.2,
        "scheduler": "steplr",
        "augment": False,
        "speed_factors": [0.9, 1.1],
        "device": "cpu",
        "nOut": 8,
        "kernel_size": 4,
        "heads_number": 4,
        "model": "VGG3L",
    }
    words = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    run = partial(use, "--config", world / "options.yaml", *words, "--save_path", output)
    shipped = Path(__file__).parent.parent / "configs"
    seeds = [Seed("options.yaml", yaml.safe_dump(options).encode(), run)]
    odd = ("null", "1e400", "-1", "[1, 2]", "{a: 1}", "!!x y", "2026-01-01", "9" * 40, ".nan", "''")
    odd += ("0", "1e-300", "1e30", "0.5", "2147483647", "[" * 2000)
    numbers = []
    for declared in OPTIONS.values():
        numbers += [option.name for option in declared if option.kind in (int, float)]
    # They need further processes.
    numbers.remove("nproc")
    numbers.remove("nDataLoaderThread")

    def strange(rng: random.Random) -> bytes:
        name = rng.choice([*options, *numbers])
        return (
            yaml.safe_dump(options | {name: 0}).encode() + f"{name}: {rng.choice(odd)}\n".encode()
        )

    seeds.append(seeds[0]._replace(make=strange))
    for name in ("demo", "sasv_stage2", "DoubleMHA"):
        data = (shipped / f"{name}.yaml").read_bytes()
        seeds.append(seeds[0]._replace(data=data, works=False))
    return seeds


# ---------------------------------------------------------------------- binary files
def odd_state(state: dict, rng: random.Random) -> bytes:
    """Returns a file of torch.save with another structure than a checkpoint has."""
    state = {**state, "model": {**state["model"]}}
    # The checksum of the contents would hide all other checks.
    if rng.random() < 0.8:
        del state["checksum"]
    name = rng.choice([*state["model"]])
    weight = state["model"][name]
    values = (
        [1, 2],
        "text",
        None,
        {"a": {"b": weight}},
        weight.to_sparse() if weight.dim() else 3,
        weight.flatten()[:0],
        weight.to(torch.complex64),
        torch.full_like(weight, 1, dtype=torch.int64),
        torch.empty(1).expand(1 << 40),
        float("nan"),
        b"bytes",
    )
    value = rng.choice(values)
    key = rng.choice([*state])
    kind = rng.randrange(5)
    if kind == 0:
        state["model"][name] = value
    elif kind == 1:
        state[key] = value
    elif kind == 2:
        del state[key]
    elif kind == 3:
        state["options"] = {**state["options"], rng.choice([*state["options"]]): value}
    else:
        state = value
    return saved_state(state)


def saved_state(state: object) -> bytes:
    """Returns the file of torch.save."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def checkpoints(world: Path, output: Path) -> list[Seed]:
    """Checkpoints to use, to start from and to resume."""
    make_world(world)
    run_folder = world / "run"
    words = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    last = untrained(run_folder, *words)
    data = last.read_bytes()
    state = torch.load(io.BytesIO(data), weights_only=True)
    make = partial(odd_state, state)
    files = (world / "wav" / FILES[0], world / "wav" / FILES[4])
    verify = partial(use, "--verify", *files, "--initial_model", world / "a.model")
    start = partial(train, *words, "--save_path", output, "--initial_model", world / "a.model")
    copy = partial(shutil.copytree, run_folder, output, dirs_exist_ok=True)
    damage = partial(shutil.copy, world / "a.model", output / "model" / "last.model")
    resume = partial(after, copy, damage, partial(train, *words, "--save_path", output))
    return [Seed("a.model", data, run, make) for run in (verify, start, resume)]


def odd_header(data: bytes, rng: random.Random) -> bytes:
    """Returns a safetensors file with an odd header, whose checksum is right."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header["__metadata__"]
    name = rng.choice([name for name in header if name != "__metadata__"])
    values = (None, -1, 0, 1.5, "F8_E4M3", "BF16", "I64", [], [0], [-1, 2], [2**62, 4], {}, 2**70)
    kind = rng.randrange(4)
    if kind == 0:
        header[name][rng.choice(["dtype", "shape", "data_offsets", "more"])] = rng.choice(values)
    elif kind == 1:
        header[name]["data_offsets"] = [rng.choice((-1, 0, 4, 2**31, 2**63)) for _ in range(2)]
    elif kind == 2:
        del header[rng.choice([name, "__metadata__"])]
    else:
        odd = ("", "{}", "[[1]]", "null", "1e999", '{"a": 1e400}', '{"id0": 9999999}', "[" * 5000)
        metadata[rng.choice([*metadata])] = rng.choice(odd)
        weights = safetensors.torch.load(data)
        metadata["checksum"] = digest_of_publication(weights, metadata)
    text = json.dumps(header).encode()
    if rng.random() < 0.1:
        text = text[:-1] + b"," + text[1:]
    return len(text).to_bytes(8, "little") + text + data[end:]


def odd_weights(data: bytes, rng: random.Random) -> bytes:
    """Returns a published file with odd weights, whose checksum is right."""
    weights = safetensors.torch.load(data)
    name = rng.choice([*weights])
    weight = weights[name]
    values = (
        weight.flatten()[:0],
        weight.to(torch.bfloat16),
        weight.to(torch.float64),
        weight.to(torch.int64),
        torch.full_like(weight, float("nan") if weight.is_floating_point() else 2**40),
        torch.zeros(2, 2, 2, 2, 2, 2),
    )
    weights[rng.choice((name, f"odd.{name}", f"loss.{name}"))] = rng.choice(values)
    facts = Facts("VGG3L", {"EER": 1.0}, {"id0": 0, "id1": 1}, [], {})
    return model_bytes(weights, facts)


def publications(world: Path, output: Path) -> list[Seed]:
    """Published folders, to use, to start from and to publish again; and weights of others."""
    make_world(world)
    words = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    last = untrained(world / "run", *words)
    hub = world / "hub"
    assert not use("--publish", hub, "--publish_classifier", "--initial_model", last)
    data = (hub / "model.safetensors").read_bytes()
    files = (world / "wav" / FILES[0], world / "wav" / FILES[4])
    verify = partial(use, "--verify", *files, "--initial_model", hub)
    start = partial(train, *words, "--save_path", output, "--initial_model", hub)
    replace = partial(shutil.copytree, hub, output / "hub")
    again = partial(use, "--publish", output / "hub", "--initial_model", last)
    weights = torch.load(last, weights_only=True)["model"]
    plain = safetensors_bytes(weights, {})
    options = (*NETWORK.split()[:8], "--initial_model", world / "plain.safetensors")
    seeds = [Seed("plain.safetensors", plain, partial(use, "--verify", *files, *options))]
    for make in (odd_header, odd_weights):
        odd = partial(make, data)
        seeds += [Seed("hub/model.safetensors", data, run, odd) for run in (verify, start)]
    replaced = partial(after, replace, again)
    seeds.append(Seed("hub/model.safetensors", data, replaced, partial(odd_header, data)))
    config = (hub / "config.yaml").read_bytes()
    seeds += [Seed("hub/config.yaml", config, run) for run in (verify, start)]
    return seeds


def audio(world: Path, output: Path) -> list[Seed]:
    """Audio in the formats of libsndfile."""
    make_world(world)
    words = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    last = untrained(world / "run", *words)
    seeds = []
    for suffix, (container, subtype) in FORMATS.items():
        data = saved(soundfile.write, noise(1), RATE, format=container, subtype=subtype)
        name = f"odd/odd.{suffix}"
        (world / "odd").mkdir(exist_ok=True)
        (world / "odd" / f"{suffix}.txt").write_text(f"id0 odd.{suffix}\n")
        (world / name).write_bytes(data)
        pair = (world / name, world / "wav" / FILES[0])
        verify = partial(use, "--verify", *pair, "--initial_model", last)
        check = ("check", world / "odd" / f"{suffix}.txt", "--path", world / "odd")
        command = partial(prepare, *check, "--output", output, "--processes", 1)
        seeds.append(Seed(name, data, verify))
        seeds.append(Seed(name, data, command, codes=(0, 1, 2)))
    return seeds


def odd_array(rng: random.Random) -> bytes:
    """Returns a .npy file with an odd array, or a header that does not fit the data."""
    arrays = (
        np.zeros((0, 8)),
        np.zeros(8, np.int64),
        np.full((2, 8), np.nan),
        np.array(["text"]),
        np.zeros(8, [("a", "f4"), ("b", "i2")]),
        np.array(3.0),
        np.zeros((2, 2, 2)),
        np.array([{}], dtype=object),
        np.zeros(3, "datetime64[s]"),
        np.zeros((1, 8), np.float16),
        np.zeros((1, 8), np.complex64),
    )
    if rng.random() < 0.1:
        return saved(np.savez, a=rng.choice(arrays), b=np.zeros(3))
    if rng.random() < 0.5:
        return saved(np.save, rng.choice(arrays), allow_pickle=True)
    shape = tuple(rng.choice((-1, 0, 1, 8, 2**31, 2**40, 2**62, 2**64)) for _ in range(2))
    header = {"descr": rng.choice(("<f4", "<f8", "|O", "<U9", "|V0", "<f2")), "shape": shape}
    text = f"{header | {'fortran_order': rng.random() < 0.5}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 64


def odd_pickle(rng: random.Random) -> bytes:
    """Returns a pickle that builds large or deep objects, or that has another structure."""
    depth = rng.choice((3, 1000, 100_000))
    values = (
        b"\x80\x02]r" + (2**31 - 1).to_bytes(4, "little") + b".",
        b"\x80\x02]r" + (2**28).to_bytes(4, "little") + b".",
        b"\x80\x05\x96" + (2 ** rng.choice((32, 40))).to_bytes(8, "little") + b".",
        b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b".",
        b"\x80\x04" + b"(" * 5000 + b"l" * 5000 + b".",
        b"L" + b"9" * 5000 + b"L\n.",
        pickle.dumps({"id0": {"bonafide": [float("inf")], "spoof": [10**400]}}),
        pickle.dumps({3: {"bonafide": FILES}}),
        b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".",
        pickle.dumps([1, "a", None]),
        pickle.dumps(Path("a")),
        pickle.dumps(np.zeros((2, 2), dtype="S4")),
        pickle.dumps(argparse.Namespace(kernel_size=10**400, front_end=[1], heads_number={})),
        pickle.dumps(argparse.Namespace(front_end="VGG3L", embedding_size=-1)),
    )
    return rng.choice(values)


def arrays(world: Path, output: Path) -> list[Seed]:
    """Embeddings, features, and pickled arrays and tables."""
    make_world(world)
    features = world / "features"
    for number, name in enumerate(FILES):
        x = np.random.default_rng(number).standard_normal((60, 80)).astype(np.float32)
        path = (features / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x)
        embedding = (world / "embeddings" / name).with_suffix(".npy")
        embedding.parent.mkdir(parents=True, exist_ok=True)
        np.save(embedding, x[:2, :8])
    (world / "npy.txt").write_text(train_list().replace(".wav", ""))
    trials = "".join(TRIALS).replace(".wav", ".npy")
    (world / "trials_npy.txt").write_text(trials)
    shutil.copytree(features, world / "pickles")
    (world / "pickles" / "id0" / "1.npy").unlink()
    lists = ("--test_list", world / "trials_npy.txt", "--test_path", world / "embeddings")
    baseline = partial(use, *EMBEDDINGS.split()[:1], *lists, "--save_path", output)
    run = partial(train, "--save_path", output, "--train_list", world / "npy.txt", "--train_path")
    meta = {name: {"bonafide": [], "spoof": []} for name in SPEAKERS}
    for name in FILES:
        meta[name[:3]]["bonafide"].append(name)
    asv = [f"{name[:3]} {name} bonafide target\n" for name in FILES[1::3]]
    asv += [f"id0 {name} bonafide nontarget\n" for name in FILES[4::3]]
    (world / "asv.txt").write_text("".join(asv))
    claims = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    claims += ("--test_list", world / "asv.txt", "--test_path", world / "wav")
    claims += ("--spk_meta_eval", world / "meta.pk", "--save_path", output)
    x = np.load(features / "id0" / "1.npy")
    feature = (features / "id0" / "1.npy").read_bytes()
    embedding = (world / "embeddings" / "id0" / "1.npy").read_bytes()
    old = pickle.dumps(x.T, 2)
    settings = argparse.Namespace(front_end="VGG3L", kernel_size=4, heads_number=4)
    both = ("--train_list", world / "train.txt", "--train_path", world / "wav")
    of_settings = partial(use, "--modelConfig", world / "config.pkl", *both, "--save_path", output)
    return [
        Seed("embeddings/id0/1.npy", embedding, baseline, odd_array),
        Seed("features/id0/1.npy", feature, partial(run, features), odd_array),
        Seed("pickles/id0/1.pickle", old, partial(run, world / "pickles"), odd_pickle),
        Seed("meta.pk", pickle.dumps(meta), partial(train, *claims), odd_pickle),
        Seed("config.pkl", pickle.dumps(settings), of_settings, odd_pickle, works=False),
    ]


def odd_index(columns: dict[str, np.ndarray], rng: random.Random) -> bytes:
    """Returns an index of a pack with an odd column."""
    name = rng.choice([*columns])
    column = columns[name]
    values = (
        column[:0],
        column[:-1],
        column[::-1],
        column.astype("f8") if name != "name" else np.arange(len(column)),
        np.full(len(column), rng.choice((-1, 2**31 - 1, 2**40, 2**62, -(2**63), 3))),
        column[None],
        np.array(["a"] * len(column)),
        np.array([None] * len(column), dtype=object),
        np.where(np.arange(len(column)) == 1, 2 ** rng.choice((20, 33, 40, 62)), 0),
    )
    return saved(np.savez, **(columns | {name: rng.choice(values)}))


def odd_table(rng: random.Random) -> bytes:
    """Returns the JSON file of a shard with odd values."""
    values = (None, -1, "a", 10**30, 1.5, [], {}, True, 2**62)
    recording = ["id0/0.wav", 8000, 16]
    recording[rng.randrange(3)] = rng.choice(values)
    table = {"recordings": [recording], "crc32": rng.choice(values)}
    if rng.random() < 0.3:
        table["recordings"] = rng.choice(values)
    return json.dumps(rng.choice((table, table, table, [table], "text", 3, None))).encode()


def packs(world: Path, output: Path) -> list[Seed]:
    """The files of a pack."""
    make_world(world)
    folder = world / "pack"
    assert not prepare("pack", world / "train.txt", "--path", world / "wav", "--output", folder)
    lists = ("--train_list", world / "train.txt", "--train_path", folder)
    lists += ("--test_list", world / "trials.txt", "--test_path", folder)
    read = partial(train, "--save_path", output, *lists)
    check = partial(prepare, "check-pack", folder, "--threads", 1)
    with np.load(folder / "index.npz") as file:
        columns = {name: file[name] for name in file.files}
    copy = partial(shutil.copytree, folder, output / "pack")
    more = ("--path", world / "wav", "--output", output / "pack", "--threads", 1)
    resume = partial(after, copy, partial(prepare, "pack", world / "train.txt", *more))
    makers = {
        "index.npz": partial(odd_index, columns),
        "00000.json": odd_table,
        "pack.json": odd_table,
        "00000.pcm": None,
    }
    seeds = []
    for name, make in makers.items():
        data = (folder / name).read_bytes()
        for run in (read, check, resume):
            seeds.append(Seed(f"pack/{name}", data, run, make))
    return seeds


def scores(world: Path, output: Path) -> list[Seed]:
    """Scores files, plain and spoofing-aware, and a calibration."""
    make_world(world)
    rng = np.random.default_rng(0)
    plain = [f"{line.strip()} {rng.normal():.4f}\n" for line in TRIALS]
    aware = []
    kinds = ("bonafide target", "bonafide nontarget", "A01 spoof")
    for i, x in enumerate(rng.normal(size=30)):
        aware.append(f"{SPEAKERS[i % 4]} {FILES[i % 12]} {kinds[i % 3]} {x:.4f}\n")
    (world / "plain.txt").write_text("".join(plain))
    calibration = world / "calibration.json"
    assert not tune("calibrate", world / "plain.txt", "--output", calibration)
    apply = ("apply", calibration, world / "plain.txt", "--output", output / "new.txt")
    commands = (
        ("plain.txt", plain, (world / "plain.txt",)),
        ("aware.txt", aware, (world / "aware.txt",)),
        ("plain.txt", plain, ("calibrate", world / "plain.txt", "--output", output / "c.json")),
    )
    seeds = []
    for name, lines, words in commands:
        seeds.append(Seed(name, "".join(lines).encode(), partial(tune, *words)))
    seeds.append(Seed("calibration.json", calibration.read_bytes(), partial(tune, *apply)))
    return seeds


def only_read() -> None:
    """Replaces the training and the pictures of the programs, because only reading is tested."""
    TrainingRun.train = lambda run: None
    tuneThreshold.plot_det = lambda *_, **more: None


def corpora(world: Path, output: Path) -> list[Seed]:
    """Archives of a corpus, and the file list that names them."""
    make_world(world)
    files = {}
    seeds = []
    for name, container in (("a.zip", "zip"), ("b.tar.gz", "gztar")):
        stem = name.partition(".")[0]
        archive = Path(shutil.make_archive(str(world / stem), container, world, "wav/id0"))
        files[name] = {"into": stem, "after": "wav"}
        (world / f"{name}.yaml").write_text(file_list({name: files[name]}))
        copy = partial(shutil.copy, archive, output / name)
        words = ("--save_path", output, "--file_list", world / f"{name}.yaml")
        run = partial(after, copy, partial(prepare, "extract", *words))
        seeds += 2 * [Seed(name, archive.read_bytes(), run)]
        seeds.append(Seed(f"{name}.yaml", file_list({name: files[name]}).encode(), run))
    return seeds


def file_list(files: dict) -> str:
    """Returns a file list of archives."""
    return yaml.safe_dump({"base_url": "http://127.0.0.1:9/{name}", "files": files})


# What is damaged -> a function that returns the seeds.
FIRST_KINDS: dict[str, Callable[[Path, Path], list[Seed]]] = {
    "lists": lists,
    "protocols": protocols,
    "configs": configs,
    "checkpoints": checkpoints,
    "publications": publications,
    "audio": audio,
    "arrays": arrays,
    "packs": packs,
    "scores": scores,
    "corpora": corpora,
}
