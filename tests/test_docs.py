"""README's and docs' commands and the shipped configs run; the first losses of each config on fixed data stay what they were."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from kill_resume import noise_corpus

import dataprep
import trainSpeakerNet
import tuneThreshold
from options import components
from prep import conversion

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
# made by: python tests/test_docs.py, after a change that is meant to move them
GOLDEN = ROOT / "tests" / "reference" / "golden_losses.json"
DOCS = "\n".join(
    page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
)
# sections, one test each
SCRIPTS = {
    title: re.findall(r"^ {4}(.+)", DOCS.partition(f"## {title}\n")[2].partition("\n## ")[0], re.M)
    for title in ("Double attention from speech to EER", "Score normalisation, calibration, fusion")
}
# and those that name lists of ASVspoof 2019: test_sasv.py; --export: test_export.py
COMMANDS = [
    line.strip()
    for line in DOCS.splitlines()
    if re.match(r" {4}(SPEECH_DATA=\S+ )?python (\./)?\w+\.py (?!.*ASVspoof2019|--export)", line)
    and line.strip() not in sum(SCRIPTS.values(), [])
]


def small(corpus):
    """What makes any config a matter of seconds on the test corpus."""
    return {
        "train_list": corpus / "train_list.txt",
        "train_path": corpus / "wav",
        "test_list": corpus / "trials.txt",
        "test_path": corpus / "wav",
        "musan_path": corpus / "musan",
        "rir_path": corpus / "rir",
        "batch_size": 4,
        "max_frames": 30,
        "eval_frames": 30,
        "num_eval": 1,
        "nDataLoaderThread": 0,
        "device": "cpu",
        "max_steps": 3,
        "max_epoch": 10,
    }


def spoofing_lists(corpus):
    """Adds lists of the test corpus in which a third of the files pass for spoofed speech."""
    files = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    (corpus / "cm.train.trn.txt").write_text(
        "".join(
            f"{who} {file} - {'A01 spoof' if i % 3 == 2 else '- bonafide'}\n"
            for i, (who, file) in enumerate(files)
        )
    )
    (corpus / "asv.eval.trn.txt").write_text(f"{files[0][0]} {files[0][1]}\n")
    (corpus / "asv.eval.trl.txt").write_text(
        "".join(
            f"{files[0][0]} {file} {key}\n"
            for (_, file), key in zip(
                (files[1], files[2], files[6], files[7]),
                ("bonafide target", "A01 spoof", "bonafide nontarget", "bonafide nontarget"),
                strict=True,
            )
        )
    )


def small_spoofing(corpus):
    """The same of a config that knows spoofed speech."""
    return {
        "num_spk": 2,
        "batch_size": 8,
        "train_list": corpus / "cm.train.trn.txt",
        "test_list": corpus / "asv.eval.trl.txt",
    }


def embeddings(corpus, dim):
    """Trees train/ and test/ of random embeddings of the test corpus's files, with targets and lists -> their folder."""
    root, draw = corpus / f"embeddings{dim}", np.random.default_rng(0)
    if not root.exists():
        for part, name in (("train", "train_list.txt"), ("test", "trials.txt")):
            for file in dict.fromkeys(
                word
                for line in (corpus / name).read_text().splitlines()
                for word in line.split()
                if "/" in word
            ):
                (root / part / file).parent.mkdir(parents=True, exist_ok=True)
                np.save(
                    (root / part / file).with_suffix(".npy"),
                    draw.standard_normal((2, dim), np.float32),
                )
        for words in (
            ["--combine_embeddings", root / "train"],
            ["--embedding_lists", root / "train", "--name", "train"],
        ):
            assert dataprep.main([*map(str, words)]) == 0
    return root


def embedding_lists(options, corpus):
    """Options that put lists of the test corpus in the place of those of a config."""
    root = embeddings(corpus, options["nOut"])
    changed = {"test_path": root / "test"}
    for part in [part for part in ("train", "valid") if f"{part}_list" in options]:
        kind = Path(options[f"{part}_list"]).name.partition("_")[2]
        changed |= {
            f"{part}_list": root / "train" / f"train_{kind}",
            f"{part}_path": root / "train",
        }
    return changed


def words_of(options):
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def noisy(corpus):
    noise_corpus(corpus)
    spoofing_lists(corpus)
    return corpus


def losses(config, corpus, folder):
    """Losses of the first steps of a config, one epoch each, in float32 and without what a test is too short for."""
    words = [
        "--config",
        str(ROOT / "configs" / config),
        *words_of(small(corpus)),
        "--no-mixedprec",
        "--save_path",
        str(folder),
        "--test_interval",
        "10",
    ]
    # a warning where there are no such channels
    words += ["--eca_c", "64", "--kernel_size", "64", "--frt_c", "16"]
    options = yaml.safe_load((ROOT / "configs" / config).read_text())
    # Larger updates of such tiny batches amplify rounding: between processors the third loss differs by up to 5 %.
    words += ["--lr", str(min(options.get("lr", 0.001), 1e-4))]
    if "valid_clients" in options:
        for name, key in (("clients", "1"), ("impostors", "0")):
            lines = [
                line[2:]
                for line in (corpus / "trials.txt").read_text().splitlines()
                if line.startswith(key)
            ]
            (corpus / f"{name}.lst").write_text("\n".join(lines))
            words += [f"--valid_{name}", str(corpus / f"{name}.lst"), "--test_list", ""]
    if "num_spk" in options:
        words += words_of(small_spoofing(corpus))
    if options.get("model", "").startswith("MyLinearNet"):
        words += words_of(embedding_lists(options, corpus))
    if "initial_model" in options:
        run = Path(options["initial_model"]).parts[1]
        losses(f"{run}.yaml", corpus, folder.parent / run)
        words += ["--initial_model", str(folder.parent / run / "model" / "best.model")]
    assert trainSpeakerNet.main(words) in (0, None)
    return [
        json.loads(line)["loss"]
        for line in (folder / "log.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]


# those that start from another one, which runs before, are slow
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            name,
            marks=[pytest.mark.slow]
            * ("\ninitial_model:" in (ROOT / "configs" / name).read_text()),
        )
        for name in CONFIGS
    ],
)
def test_config_runs_and_its_losses_stay(config, noisy, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECH_DATA", str(tmp_path))
    np.testing.assert_allclose(
        losses(config, noisy, tmp_path / "run"), json.loads(GOLDEN.read_text())[config], rtol=2e-3
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_config_says_what_it_is(config):
    text = (ROOT / "configs" / config).read_text()
    options = yaml.safe_load(text)
    assert text.startswith("# ") and options["save_path"] == f"exps/{Path(config).stem}"
    assert (
        options["model"] in components("model")
        if "model" in options
        else "initial_model" in options
    )


@pytest.fixture(scope="module")
def enhanced(noisy, tmp_path_factory):
    """Run folder of configs/enhance_demo.yaml after a few steps, and the scores of what went in."""
    folder = tmp_path_factory.mktemp("enhance_demo")
    losses("enhance_demo.yaml", noisy, folder)
    assert trainSpeakerNet.main(
        [
            "--check",
            "--test_list",
            str(noisy / "trials.txt"),
            "--test_path",
            str(embeddings(noisy, 128) / "test"),
            "--save_path",
            str(folder),
        ]
    ) in (0, None)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] * ("--nproc" in command))
        for command in COMMANDS
    ],
)
def test_command_of_readme(command, noisy, checkpoint, enhanced, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(noisy)
    (tmp_path / "data" / "embeddings").mkdir()
    for part in ("train", "test"):
        shutil.copytree(embeddings(noisy, 128) / part, tmp_path / "data" / "embeddings" / part)
    shutil.copytree(enhanced, tmp_path / "exps" / "enhance_demo")
    wavs = sorted((noisy / "wav").rglob("*.wav"))
    for name, wav in zip("ab", wavs, strict=False):
        (tmp_path / f"{name}.wav").symlink_to(wav)
    for name in ("demo", "speechocean_mini"):
        (tmp_path / "exps" / name).mkdir(parents=True)
        for part in ("model", "result", "config.yaml"):
            (tmp_path / "exps" / name / part).symlink_to(checkpoint.parent.parent / part)
    setting, _, rest = command.rpartition("python ")
    if setting:
        monkeypatch.setenv("SPEECH_DATA", str(tmp_path))
    script, *words = shlex.split(rest.removeprefix("./"))
    if script == "dataprep.py" and {"file_list", "asvspoof2019"} & {
        *vars(dataprep.parse(words)[1])
    }:
        # wants a network or an archive: test_corpora.py runs it
        return
    if "$SPEECH_DATA" in rest:
        pytest.skip(
            "its data are outside the repository; its options are those of the lines above it"
        )
    if script == "trainSpeakerNet.py":
        using = {"--eval", "--extract", "--verify", "--check", "--all_pairs", "--average"} & {
            *words
        }
        if not using and "--help" not in words:
            enhancing = "configs/enhance_demo.yaml" in words
            if "configs/large_margin_finetuning.yaml" in words:
                # what is to be fine-tuned
                base = Path(words[words.index("--config") + 1])
                losses(base.name, noisy, tmp_path / "exps" / base.stem)
            if "exps/speechocean_mini_ska/model/last.model" in words:
                losses(
                    "speechocean_mini_ska.yaml", noisy, tmp_path / "exps" / "speechocean_mini_ska"
                )
            words += words_of(small(noisy)) + [
                "--save_path",
                str(tmp_path / "run"),
                "--eca_c",
                "64",
                "--kernel_size",
                "64",
            ]
            words += words_of(small_spoofing(noisy)) if "asvspoof_mini" in command else []
            words += (
                words_of(
                    embedding_lists(
                        yaml.safe_load(Path("configs/enhance_demo.yaml").read_text()), noisy
                    )
                )
                if enhancing
                else []
            )
        main = trainSpeakerNet.main
    elif script == "dataprep.py":
        if "--synthetic" in words:
            words += ["--speakers", "2", "--files", "2", "--test_speakers", "3"]
            words[words.index("--synthetic") + 1] = str(tmp_path / "made")
        elif "--copy_synthesis" in words:
            words += [
                "--path",
                str(noisy / "wav"),
                "--limit_per_speaker",
                "1",
                "--vocoders",
                "griffin_lim",
            ]
            words[words.index("--copy_synthesis") + 1] = str(noisy / "train_list.txt")
        elif "--merge" in words:
            # a speaker in each of the lists that it names
            for speaker, part in zip(
                sorted(path.name for path in (noisy / "wav").iterdir()),
                words[1 : words.index("--output")],
                strict=False,
            ):
                list_file, folder = part.partition("=")[2].split(":")
                shutil.copytree(noisy / "wav" / speaker, Path(folder) / speaker)
                Path(list_file).write_text(
                    "".join(
                        f"{speaker} {path.relative_to(folder)}\n"
                        for path in Path(folder).rglob("*.wav")
                    )
                )
        elif "--convert" in words:
            (tmp_path / "data" / "voxceleb2").mkdir()
            subprocess.run(
                [
                    conversion.find_ffmpeg(),
                    "-v",
                    "error",
                    "-nostdin",
                    "-i",
                    wavs[0],
                    "data/voxceleb2/00001.m4a",
                ],
                check=True,
            )
        main = dataprep.main
    else:
        words += [] if {"--plot", "--report"} & {*words} else ["--det", str(tmp_path / "det.png")]
        main = tuneThreshold.main
    try:
        code = main(words)
    except SystemExit as exit:
        code = exit.code
    assert code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("title", SCRIPTS)
def test_script_of_readme(title, corpus, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint.parent.parent, tmp_path / "exps" / "demo")
    for name, wav in zip("ab", sorted((corpus / "wav").rglob("*.wav")), strict=False):
        (tmp_path / f"{name}.wav").symlink_to(wav)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(corpus)
    for line in SCRIPTS[title]:
        if not line.startswith("python "):
            subprocess.run(line, shell=True, check=True)
            continue
        _, script, *words = shlex.split(line)
        if "--config" in words:
            words += words_of(
                {
                    "kernel_size": 64,
                    "nOut": 16,
                    "batch_size": 4,
                    "max_frames": 30,
                    "max_steps": 5,
                    "validate_every": 2,
                }
            )
        # the test corpus has fewer speakers
        words = [re.sub(r"id10041/rec01", "id10001/rec01", word) for word in words]
        # and fewer files
        words += ["--top_n", "5"] if "--top_n" in words else []
        words += {
            "dataprep.py": ["--processes", "1"],
            "trainSpeakerNet.py": words_of({"nDataLoaderThread": 0, "device": "cpu"}),
        }.get(script, [])
        assert {
            "dataprep.py": dataprep,
            "trainSpeakerNet.py": trainSpeakerNet,
            "tuneThreshold.py": tuneThreshold,
        }[script].main(words) in (0, None), line
    assert SCRIPTS[title] and len(list((tmp_path / "exps" / "embeddings").rglob("*.npy"))) == (
        "--extract" in "".join(SCRIPTS[title])
    )


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        dataprep.main(
            [
                "--synthetic",
                str(made / "corpus"),
                "--speakers",
                "8",
                "--files",
                "6",
                "--test_speakers",
                "4",
                "--trials",
                "60",
            ]
        )
        noise_corpus(made / "corpus")
        spoofing_lists(made / "corpus")
        os.environ["SPEECH_DATA"] = folder
        GOLDEN.write_text(
            json.dumps(
                {config: losses(config, made / "corpus", made / config) for config in CONFIGS},
                indent=1,
            )
            + "\n"
        )
