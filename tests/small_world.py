"""A folder with small data that have the names of the pages of the systems.

tests/test_coming_from.py runs the commands of the pages there, with run_command().
"""

import argparse
import pickle
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from kill_resume import noise_corpus
from pages import ROOT
from test_models import model

import dataprep
import trainSpeakerNet
import tuneThreshold

PUBLISHED_SECTION = "From the published commands"
PROGRAMS = {
    "dataprep.py": dataprep,
    "trainSpeakerNet.py": trainSpeakerNet,
    "tuneThreshold.py": tuneThreshold,
}
# Sub-commands of dataprep.py that need a server, an archive or compressed files. Other tests run
# them.
NEED_FILES = {
    "download",
    "concatenate",
    "extract",
    "convert",
    "voxceleb",
    "augment",
    "asvspoof2019",
    "asvspoof2021",
    "asvspoof5",
    "spoofceleb",
    "wildspoof",
}
# Options that select a trained network instead of a training.
USES = {"--eval", "--check", "--extract", "--verify", "--generate", "--audioPath"}
# Options with which a training takes about a second.
SIZES = shlex.split(
    "--batch_size 4 --max_frames 30 --eval_frames 30 --num_eval 1 --nDataLoaderThread 0 "
    "--device cpu --max_steps 2"
)
# {part of a training command: further options of this kind}
SIZES_OF_TRAININGS = {
    "--num_spk|sasv_stage[23]|asvspoof_mini|2019_aasist": "--num_spk 2 --batch_size 8",
    "sasv_stage|_ska.yaml": "--frt_c 8 --eca_c 64",
    "ecapa": "--eca_c 64",
    "DoubleMHA|_heads.yaml": "--kernel_size 64",
    "DoubleMHA": "--validate_every 2",
    "--randomSlicing": "--max_frames 200",
    "enhance_demo": "--nOut 32",
    "--nPerSpeaker 40": "--nPerSpeaker 4",
}
# {sub-command of dataprep.py: options with which it takes about a second}
SIZES_OF_PREPARATIONS = {
    "synthetic": "--speakers 8 --files 6 --test_speakers 4 --trials 60",
    "copy-synthesis": "--limit_per_speaker 2 --vocoders griffin_lim --processes 1",
    "features": "--processes 1",
    "combine-embeddings": "--processes 1",
}
# Settings as the double-attention project pickles them.
SETTINGS = {
    "front_end": "VGG3L",
    "kernel_size": 32,
    "embedding_size": 24,
    "heads_number": 4,
    "pooling_method": "MHA",
    "mask_prob": 0.3,
    "normalization": "cmvn",
    "out_dir": "elsewhere",
    "num_spkrs": 5,
}
# {list of the synthetic corpus: its name in ASVspoof 2019}
ASVSPOOF_LISTS = {
    "cm.train.trn.txt": "ASVspoof2019.LA.cm.train_dev.trn.txt",
    "asv.eval.trl.txt": "ASVspoof2019.LA.asv.eval.gi.trl.txt",
    "asv.eval.trn.txt": "ASVspoof2019.LA.asv.eval.female.trn.txt",
}


# ---------------------------------------------------------------------- commands
def run(command, *more):
    """Runs a command line without `python`, and further words. Returns the exit code."""
    script, *words = shlex.split(command)
    try:
        return PROGRAMS[script].main([*words, *map(str, more)]) or 0
    except SystemExit as exit:
        return exit.code or 0


def sizes_of(command):
    """Returns options with which a command takes about a second."""
    script, *words = shlex.split(command)
    if script == "dataprep.py":
        return shlex.split(SIZES_OF_PREPARATIONS.get(words[0], ""))
    if script == "tuneThreshold.py" or "--modelConfig" in words:
        return []
    sizes = [*SIZES]
    if not USES & {*words}:
        for part, options in SIZES_OF_TRAININGS.items():
            if re.search(part, command):
                sizes += shlex.split(options)
    return sizes


def run_command(line):
    """Runs a line of a page with small sizes. Returns the exit code."""
    command = re.sub(r"^(SPEECH_DATA=data )?python ", "", line)
    if command == line:
        return subprocess.run(line, shell=True).returncode
    script, *words = shlex.split(command)
    if script == "dataprep.py" and words[0] in NEED_FILES:
        # Wrong words end the program.
        dataprep.parse_command(words)
        return 0
    if words[0] == "synthetic":
        # The folder has to be new. The world has one for pages that assume it.
        shutil.rmtree(words[1], ignore_errors=True)
    first = Path("exps/speechocean_mini_ska/model/last.model")
    if str(first) in words and not first.exists():
        config = "trainSpeakerNet.py --config configs/speechocean_mini_ska.yaml"
        assert run(config, *sizes_of(config)) == 0
    return run(command, *sizes_of(command))


# ---------------------------------------------------------------------- data
def link(target, *names):
    """Makes links to a file or folder, and the folders of the links."""
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(target)


def write_world(root, corpus, trained):
    """Writes everything that the pages assume into the folder root, most of it as links.

    corpus: the synthetic corpus of the tests. trained: a run folder.
    """
    data = root / "data"
    wav = corpus / "wav"
    trials = corpus / "trials.txt"
    link(ROOT / "configs", root / "configs")
    link(trained, root / "exps" / "demo", root / "exps" / "test")
    link(wav, data / "voxceleb1", data / "voxceleb2", data / "synthetic" / "wav")
    for name in ("train_list.txt", "trials.txt"):
        shutil.copy(corpus / name, data / "synthetic" / name)
    link(corpus / "train_list.txt", data / "train_list.txt")
    link(trials, data / "veri_test.txt", data / "librispeech.txt")
    for name in ("veri_test2.txt", "list_test_all2.txt", "list_test_hard2.txt"):
        link(trials, data / name)
    noise_corpus(corpus)
    link(corpus / "musan", data / "musan_split")
    link(corpus / "rir", data / "RIRS_NOISES" / "simulated_rirs")
    mini = data / "speechocean_mini"
    link(wav, mini / "train", mini / "test")
    link(corpus / "train_list.txt", mini / "train_list.txt")
    link(trials, mini / "trials.txt")
    write_voxceleb_checkpoints(root)
    write_double_attention_files(root, corpus)
    write_librispeech(data / "embeddings" / "librispeech", trials)


def write_voxceleb_checkpoints(root):
    """Writes two checkpoints in the format of voxceleb_trainer."""
    torch.manual_seed(0)
    networks = {
        "baseline_lite_ap": model("ResNetSE34L"),
        "baseline_v2_smproto": model("ResNetSE34V2", encoder_type="ASP"),
    }
    for name, net in networks.items():
        weights = with_published_names({"model": net.state_dict(), "loss": {}})
        torch.save(weights, root / f"{name}.model")


def with_published_names(state):
    """Returns the weights of a checkpoint with the names of published checkpoints."""
    weights = {}
    for prefix, part in (("__S__", "model"), ("__L__", "loss")):
        for name, value in state[part].items():
            weights[f"{prefix}.{name}"] = value
    return weights


def write_librispeech(folder, trials):
    """Writes random embeddings of 512 numbers for the files of a list of trials."""
    draw = np.random.default_rng(0)
    names = [word for word in trials.read_text().split() if "/" in word]
    for name in dict.fromkeys(names):
        path = (folder / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, draw.standard_normal((2, 512), np.float32))


# ---------------------------------------------------------------------- double attention
def double_attention():
    """Makes the network of the double-attention project with the sizes in SETTINGS."""
    net = model(
        "VGG3L", encoder_type="MHA", kernel_size=32, nOut=24, heads_number=4, normalization="cmvn"
    )
    return net.eval()


def write_double_attention_files(root, corpus):
    """Writes a list, the pickled settings and a checkpoint of the double-attention project."""
    shutil.copy(min((corpus / "wav").rglob("*.wav")), root / "a.wav")
    shutil.copy(max((corpus / "wav").rglob("*.wav")), root / "b.wav")
    (root / "files.lst").write_text("a\n")
    settings = argparse.Namespace(**SETTINGS)
    (root / "config.pkl").write_bytes(pickle.dumps(settings))
    state = {
        "model": double_attention().state_dict(),
        "settings": settings,
        "optimizer": {},
        "epoch": 3,
        "step": 7,
    }
    torch.save(state, root / "model.chkpt")


# ---------------------------------------------------------------------- ASVspoof 2019
def write_asvspoof(made, la):
    """Writes a small corpus in the layout of ASVspoof 2019 LA into the folder la.

    made: gets the synthetic corpus that it is made of. Its lists are in la/protocols, and tables of
    its speakers in la/spk_meta.
    """
    words = ["--synthetic", str(made), "--speakers", "6", "--files", "4", "--test_speakers", "4"]
    assert dataprep.main([*words, "--trials", "20", "--spoof"]) in (0, None)
    for folder in ("ASVspoof2019_LA_train/flac", "ASVspoof2019_LA_eval/flac"):
        (la / folder).mkdir(parents=True)
    for folder in ("protocols", "spk_meta"):
        (la / folder).mkdir()
    names = copy_as_flac(made / "wav", la)
    for old, new in ASVSPOOF_LISTS.items():
        lines = []
        for line in (made / old).read_text().splitlines():
            lines.append(renamed_line(line, names, is_train=old.startswith("cm")))
        (la / "protocols" / new).write_text("\n".join(lines) + "\n")
    train = (la / "protocols" / ASVSPOOF_LISTS["cm.train.trn.txt"]).read_text().splitlines()
    first_speaker = train[0].split()[0]
    others = [line for line in train if line.split()[0] != first_speaker]
    path = la / "protocols" / "ASVspoof2019.LA.cm.train.trn.txt"
    path.write_text("\n".join(others) + "\n")
    write_protocol(la / "protocols")
    (la / "spk_meta" / "spk_meta_trn.pk").write_bytes(pickle.dumps(files_by_kind(train)))
    (la / "spk_meta" / "spk_meta_eval.pk").write_bytes(pickle.dumps({}))


def write_protocol(folder):
    """Writes the countermeasure protocol of the tested files, each of them once.

    The lists of the dev part have the same contents as the lists of the eval part.
    """
    lines = {}
    for line in (folder / "ASVspoof2019.LA.asv.eval.gi.trl.txt").read_text().splitlines():
        speaker, file, attack, _ = line.split()
        kind = "- bonafide" if attack == "bonafide" else f"{attack} spoof"
        lines.setdefault(file, f"{speaker} {file} - {kind}")
    path = folder / "ASVspoof2019.LA.cm.eval.trl.txt"
    path.write_text("\n".join(lines.values()) + "\n")
    for path in [*folder.glob("*.eval.*")]:
        shutil.copy(path, folder / path.name.replace("eval", "dev"))


def copy_as_flac(wavs, la):
    """Writes all files of a corpus to the folders of ASVspoof. Returns {old name: new name}."""
    names = {}
    for path in wavs.rglob("*.wav"):
        old = path.relative_to(wavs)
        name = "LA_" + str(old).replace("/", "_")[:-4]
        names[str(old)] = name
        part = "eval" if int(old.parts[0][2:]) > 10006 else "train"
        sf.write(la / f"ASVspoof2019_LA_{part}" / "flac" / f"{name}.flac", *sf.read(path))
    return names


def renamed_line(line, names, is_train):
    """Returns a line of a list with the new names of its files."""
    speaker, files, *rest = line.split()
    renamed = ",".join(names[file] for file in files.split(","))
    if is_train:
        # The published list names another folder than the one on the disk.
        renamed = f"ASVspoof2019_LA_train/wav/{renamed}"
    return " ".join([speaker, renamed, *rest])


def files_by_kind(train):
    """Returns {speaker: {"bonafide": files, "spoof": files}}, the format of spk_meta files."""
    table = {}
    for line in train:
        speaker, file, *_, kind = line.split()
        kinds = table.setdefault(speaker, {"bonafide": [], "spoof": []})
        kinds[kind].append(Path(file).name)
    return table


def place_asvspoof(root, la):
    """Links a corpus of write_asvspoof() to the names of dataprep.py asvspoof2019.

    The dev part has the files and the lists of the eval part.
    """
    data = root / "data"
    link(la, data / "asvspoof_mini")
    link(la / "protocols", data / "protocols", data / "LA" / "protocols")
    link(la / "ASVspoof2019_LA_train", data / "LA" / "ASVspoof2019_LA_train")
    for part in ("dev", "eval"):
        link(la / "ASVspoof2019_LA_eval", data / "LA" / f"ASVspoof2019_LA_{part}")
        for name in ASVSPOOF_LISTS.values():
            if ".asv." in name:
                folder = data / "LA" / "ASVspoof2019_LA_asv_protocols"
                link(la / "protocols" / name, folder / name.replace("eval", part))
