"""The command lines of dataprep.py: sub-commands, published flags, help and errors."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from prose import HOME_MADE_WORD

import dataprep
from prep import conversion, voxceleb
from prep.commands.table import FLAGS, SUBCOMMANDS

ROOT = Path(__file__).parent.parent
# Sub-command -> its published flag, its values, and its required options.
PUBLISHED = {
    "download": ("--download", "", ""),
    "concatenate": ("--concatenate", "", ""),
    "extract": ("--extract", "", ""),
    "convert": ("--convert", "tree", ""),
    "voxceleb": ("--all", "", ""),
    "augment": ("--augment", "", ""),
    "asvspoof2019": ("--asvspoof2019", "LA.zip", "--save_path there --force"),
    "asvspoof2021": ("--asvspoof2021", "LA.tar.gz keys.tar.gz", "--save_path there --force"),
    "asvspoof5": ("--asvspoof5", "flac_T_aa.tar flac_D_aa.tar", "--save_path there --force"),
    "spoofceleb": ("--spoofceleb", "celeb", "--save_path there --force"),
    "wildspoof": ("--wildspoof", "celeb trials.csv", ""),
    "mini-librispeech": ("--mini_librispeech", "mini", ""),
    "cnceleb": ("--cnceleb", "cn", "--join_seconds 5 --lists_only"),
    "voxblink2": ("--voxblink2", "tree", "--output list.txt"),
    "speechocean762": ("--speechocean762", "ocean", ""),
    "synthetic": ("--synthetic", "made", ""),
    "copy-synthesis": ("--copy_synthesis", "train.txt", "--path wav --output copies"),
    "hold-out": ("--hold_out", "cm.txt", "--speakers 2 --output lists"),
    "check": ("--check", "train.txt trials.txt", "--path wav"),
    "make-list": ("--make_list", "tree", "--output lists"),
    "merge": ("--merge", "a=a.txt:a b=b.txt:b", "--output all.txt"),
    "to-kaldi": ("--to_kaldi", "train.txt", "--output kaldi"),
    "from-kaldi": ("--from_kaldi", "kaldi", "--output train.txt"),
    "features": ("--features", "", "-i files.txt"),
    "combine-embeddings": ("--combine_embeddings", "tree", ""),
    "embedding-lists": ("--embedding_lists", "tree", "--name train"),
    "pack": ("--pack", "train.txt trials.txt", "--path wav --output pack"),
    "check-pack": ("--check_pack", "pack", ""),
    "checkpoint": ("--checkpoint", "campplus_zh_en", "--output o --file_list l --base_url u"),
}
# Values of options that several sub-commands have. None of them is a default value.
MORE = {
    "--save_path": "elsewhere",
    "--processes": "3",
    "--seed": "4",
    "--trials": "6",
    "--connections": "2",
    "--threads": "5",
}


def parsed(words):
    """Parse a command line. Returns the name of the sub-command and its options."""
    command, options = dataprep.parse_command(words)
    (name,) = [name for name, each in SUBCOMMANDS.items() if each is command]
    return name, vars(options)


def stopped(words, capsys):
    """Run a command line that ends the program. Returns the exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stop:
        dataprep.main(words)
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def shown_flags(name):
    """Return the flags of a sub-command that its help shows."""
    flags = []
    for each, arguments in SUBCOMMANDS[name].options.items():
        if arguments["help"] != argparse.SUPPRESS:
            flags += each.split("/")
    return flags


# ---------------------------------------------------------------------- published flags
def test_every_subcommand_has_a_published_flag():
    assert {name: flag for name, (flag, *_) in PUBLISHED.items()} == {
        name: flag for flag, name in FLAGS.items()
    }
    options = [flag for name in SUBCOMMANDS for flag in shown_flags(name)]
    assert not {*options} & {*FLAGS}, "a flag has two meanings"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_flag_and_subcommand_give_the_same_options(name):
    flag, *texts = PUBLISHED[name]
    values, options = (text.split() for text in texts)
    for more, value in MORE.items():
        if more in SUBCOMMANDS[name].options:
            options += [more, value]
    expected = parsed([name, *values, *options])
    assert expected[0] == name
    assert parsed([flag, *values, *options]) == expected
    assert parsed([*options, flag, *values]) == expected
    assert parsed([*options[:2], flag, *values, *options[2:]]) == expected
    if len(values) == 1:
        assert parsed([*options, f"{flag}={values[0]}"]) == expected


def test_options_of_a_published_command():
    words = shlex.split("--path wav --pack train.txt trials.txt --output out --shard_size 5")
    name, options = parsed(words)
    assert name == "pack"
    assert options["pack"] == [Path("train.txt"), Path("trials.txt")]
    assert (options["path"], options["output"]) == (Path("wav"), Path("out"))
    assert options["shard_size"] == 5
    assert parsed(["--pack", "--path", "wav", "--output", "out"])[1]["pack"] == []
    assert parsed(["pack", "--path", "wav", "--output", "out"])[1]["pack"] == []


def test_the_last_value_of_a_repeated_flag_counts():
    assert parsed(["--check", "a", "--path", "b", "--check", "c"])[1]["check"] == ["c"]


def test_values_and_options_in_any_order():
    words = shlex.split("pack --path wav train.txt --output out")
    assert parsed(words)[1]["pack"] == [Path("train.txt")]
    assert parsed(["features", "--input", "a"]) == parsed(["features", "-i", "a"])


@pytest.mark.parametrize(
    "words, steps",
    [
        ("--download --concatenate --extract --convert", "download concatenate extract convert"),
        ("--convert --download", "download convert"),
        ("--extract --extract", "extract"),
        ("--all", "download concatenate extract convert"),
        ("--extract --all", "download concatenate extract convert"),
        ("--convert", "convert"),
        ("voxceleb", "download concatenate extract convert"),
        ("voxceleb --steps download extract", "download extract"),
        ("concatenate", "concatenate"),
        ("convert", "convert"),
    ],
)
def test_steps_of_voxceleb(words, steps, monkeypatch):
    calls = []
    monkeypatch.setattr(
        voxceleb, "prepare", lambda steps, request, *rest: calls.append((steps, request, *rest))
    )
    given = "--save_path there --user U --password P --format flac --processes 3"
    first, *rest = words.split()
    # Published commands also give options before the flag.
    options = given.split()
    whole = [first, *rest, *options] if first in SUBCOMMANDS else [*options, first, *rest]
    assert dataprep.main(whole) == 0
    ((found, request, format, processes),) = calls
    assert [*found] == steps.split()
    assert request.folder == Path("there")
    assert (request.access.user, request.access.password) == ("U", "P")
    assert (format, processes) == ("flac", 3)


@pytest.mark.parametrize("words", ["--convert tree", "convert tree", "--convert=tree"])
def test_convert_a_folder(words, monkeypatch):
    calls = []
    monkeypatch.setattr(conversion, "convert", lambda *arguments: calls.append(arguments))
    assert dataprep.main([*words.split(), "--format", "flac"]) == 0
    assert dataprep.main([*words.split(), "--output", "out"]) == 0
    tree, out = Path("tree"), Path("out")
    assert calls == [(tree, tree, "flac", None), (tree, out, "wav", None)]


# ---------------------------------------------------------------------- help
def test_help_lists_the_subcommands(capsys):
    code, out, err = stopped(["--help"], capsys)
    assert (code, err) == (0, "")
    assert stopped(["-h"], capsys)[1] == out
    lines = out.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 100
    for name in SUBCOMMANDS:
        assert len(re.findall(rf"^  {name}\b[^-].* {{2,}}\w", out, re.M)) == 1, name
    assert not HOME_MADE_WORD.search(out)


def example_commands(text):
    """Return the words of the commands in the examples of a help text."""
    examples = text.partition("\nExamples:\n")[2].replace("\\\n", " ")
    return [shlex.split(line) for line in examples.splitlines() if line.strip()]


@pytest.mark.parametrize("columns", ["30", "300"])
@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_a_subcommand(name, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    code, out, err = stopped([name, "--help"], capsys)
    assert (code, err) == (0, "")
    for words in (
        [PUBLISHED[name][0], "--help"],
        ["--help", PUBLISHED[name][0]],
        [name, "x", "-h"],
    ):
        assert stopped(words, capsys)[1] == out
    assert max(map(len, out.splitlines())) <= 100
    assert not HOME_MADE_WORD.search(out)
    for flag in shown_flags(name):
        assert re.search(rf"^  .*{flag}\b", out, re.M), flag
    commands = example_commands(out)
    assert commands
    for python, program, *words in commands:
        assert (python, program) == ("python", "dataprep.py")
        assert parsed(words)[0] == name


def test_long_examples_have_one_option_per_line(capsys):
    out = stopped(["pack", "--help"], capsys)[1]
    assert (
        "  python dataprep.py pack data/train_list.txt \\\n"
        "      --path data/voxceleb2 \\\n"
        "      --output data/pack\n"
    ) in out
    assert "  python dataprep.py check-pack data/pack\n" in stopped(["check-pack", "-h"], capsys)[1]


def test_help_loads_no_heavy_module():
    code = (
        "import sys, dataprep\n"
        "try: dataprep.main(['pack', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'soundfile', 'torch', 'yaml'}\n"
        "print('loaded:', sorted(heavy & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "words, message",
    [
        ("pakc train.txt", "unknown sub-command 'pakc'. Did you mean pack?"),
        ("make_list tree", "unknown sub-command 'make_list'. Did you mean make-list?"),
        ("qqq", "unknown sub-command 'qqq'. See python dataprep.py --help."),
        ("--downlod --save_path data", "unknown option --downlod. Did you mean --download?"),
        (
            "--vocoders world",
            "--vocoders: expected a sub-command before it, such as copy-synthesis. "
            "See python dataprep.py --help.",
        ),
        (
            "synthetic a --speaker 3",
            "synthetic: unknown option --speaker. Did you mean --speakers?",
        ),
        (
            "check a --qqq",
            "check: unknown option --qqq. See python dataprep.py check --help.",
        ),
        (
            "--synthetic a --vocoder world",
            "synthetic: unknown option --vocoder. See python dataprep.py synthetic --help.",
        ),
        (
            "check a --path b --test_speakers 3",
            "--test_speakers: the option belongs to synthetic and make-list, not to check. "
            "See python dataprep.py check --help.",
        ),
        (
            "check-pack a --thread=3",
            "check-pack: unknown option --thread. Did you mean --threads?",
        ),
        (
            "download --processes 3 --output b",
            "--output: the option belongs to convert and others, not to download. "
            "See python dataprep.py download --help.",
        ),
        (
            "augment --all",
            "--all: expected an option of augment, found the sub-command voxceleb. "
            "Run the two sub-commands one after the other.",
        ),
        (
            "--convert tree --extract --output out",
            "--convert: expected no folder together with other steps, found 'tree'. "
            "To convert a folder, give --convert alone.",
        ),
        (
            "synthetic a b",
            "synthetic: unexpected word 'b'. See python dataprep.py synthetic --help.",
        ),
        ("pack a --path b", "missing --output. See python dataprep.py pack --help."),
        ("check-pack", "missing DIR. See python dataprep.py check-pack --help."),
        (
            "pack a --output",
            "--output: expected a value, found none. See python dataprep.py pack --help.",
        ),
        (
            "check a --path",
            "--path: expected a value, found none. See python dataprep.py check --help.",
        ),
        (
            "synthetic a --spoof=yes",
            "--spoof: expected no value, found 'yes'. See python dataprep.py synthetic --help.",
        ),
        (
            "synthetic a --files 1",
            "--files: expected a whole number of at least 2, found '1'. "
            "See python dataprep.py synthetic --help.",
        ),
        (
            "convert a --format flak",
            "--format: expected one of wav, flac, found 'flak'. Did you mean flac?",
        ),
        (
            "voxceleb --steps convert qqq",
            "--steps: expected one of download, concatenate, extract, convert, found 'qqq'. "
            "See python dataprep.py voxceleb --help.",
        ),
    ],
)
def test_wrong_words(words, message, capsys):
    assert stopped(words.split(), capsys) == (2, "", f"error: {message}\n")


def test_no_words(capsys):
    code, out, err = stopped([], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: expected a sub-command, found nothing. ")
    assert "python dataprep.py --help" in err
    assert all(re.search(rf"[ \n]{name}[,.]", err) for name in PUBLISHED)
    assert len(err.splitlines()) <= 5


def test_blank_after_a_backslash(capsys):
    for words in (["pack", "a", " ", "--path", "b"], [" ", "--download"]):
        code, _, err = stopped(words, capsys)
        assert code == 2 and "Remove the blank after the backslash" in err


def test_user_without_password(capsys, monkeypatch):
    monkeypatch.delenv("VOXCELEB_PASSWORD", raising=False)
    assert dataprep.main(["download", "--user", "U"]) == 2
    assert capsys.readouterr().err == (
        "error: expected --user and --password (or VOXCELEB_USER and VOXCELEB_PASSWORD), found "
        "only one of them. Give both.\n"
    )
