"""Options: order of precedence, aliases, configs, help, warnings, options from a checkpoint."""

import itertools
import logging
import re
from pathlib import Path

import pytest
import yaml
from conftest import small_run

import options
import trainSpeakerNet
from common.errors import InputError
from network.checkpoints import read_checkpoint
from options.parser import parse
from options.plugins import options_of
from options.run_options import configuration
from options.typed import TypedSpellings


def given(*words, environ=None):
    """The options of a command line."""
    return parse([str(word) for word in words], environ or {}, "", read_checkpoint)[0]


@pytest.fixture
def config(tmp_path):
    """A function that writes a YAML file: config(text, name) -> its path."""

    def write(text, name="c.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_config_acts_where_it_stands(config):
    first = config("lr: 0.2\nseed: 2\nlog_input: false\n")
    second = config("lr: 0.3\n", "d.yaml")
    assert given("--lr", 0.1, "--config", first).lr == 0.2
    assert given("--config", first, "--lr", 0.1).lr == 0.1
    assert given("--config", first, "--config", second).lr == 0.3
    assert given(f"--config={second}", "--config", first).lr == 0.2
    both = given("--seed", 7, "--config", second, "--config", first, "--log_input")
    assert (both.lr, both.seed, both.log_input) == (0.2, 2, True)


@pytest.mark.parametrize("other, canonical", options.ALIASES.items())
def test_other_spellings(other, canonical, config, checkpoint):
    values = {
        "train_list": "x",
        "train_path": "x",
        "test_list": "x",
        "test_path": "x",
        "save_path": "x",
        "extract": "x",
        "initial_model": str(checkpoint),
        "encoder_type": "ASP",
        "lr": 0.5,
        "model": "VGG4L",
    }
    word = values.get(canonical, 3)
    # This loss has a scale and a margin.
    with_margin = ["--trainfunc", "amsoftmax"]
    from_words = given(*with_margin, f"--{other}", word)
    from_config = given(*with_margin, "--config", config(f"{other}: {word}\n"))
    for chosen in (from_words, from_config):
        assert getattr(chosen, canonical) in (word, [word])


def test_other_units(config):
    assert given("--window_size", 3.5).max_frames == 350
    assert given("--config", config("window_size: 3.5\n")).max_frames == 350
    # 229.99999999999997 frames before rounding.
    assert given("--window_size", 2.3).max_frames == 230
    assert given("--window_size", 3.5, "--max_frames", 100).max_frames == 100
    assert given("--max_frames", 100, "--window_size", 2).max_frames == 200
    with pytest.raises(
        InputError, match=r"^--window_size: expected at least 0.01 seconds, found 0\.$"
    ):
        given("--window_size", 0)
    with pytest.raises(InputError, match=r"^--window_size: expected a number, found 'long'\.$"):
        given("--window_size", "long")


def test_other_spellings_of_values(config):
    assert given("--trainfunc", "Softmax").trainfunc == "softmax"
    assert given("--config", config("trainfunc: Softmax\n")).trainfunc == "softmax"
    with pytest.raises(InputError, match=r"--trainfunc: expected one of CS, .*, found 'SOFTMAX'\."):
        given("--trainfunc", "SOFTMAX")


def test_no_two_files_differ_in_case_alone():
    for part in options.PARTS:
        names = options.components(part)
        assert len({name.lower() for name in names}) == len(names)


def test_booleans_are_flags(config):
    assert given("--augment", "--no-augment").augment is False
    assert given("--config", config("mixedprec: true\n")).mixedprec is True
    assert given("--config", config("mixedprec: true\n"), "--no-mixedprec").mixedprec is False
    # A value of a flag is an error. It is not ignored.
    for words in (["--mixedprec", "true"], ["--mixedprec=true"]):
        with pytest.raises(InputError) as error:
            given("--seed", 1, *words, "--lr", 0.1)
        assert str(error.value) == (
            "--mixedprec: expected no value because this is a flag, found 'true'. Write "
            "--mixedprec or --no-mixedprec."
        )


def test_prefixes_are_not_guessed():
    with pytest.raises(InputError, match="Did you mean --batch_size"):
        given("--batch_siz", 3)


def test_one_warning_for_an_option_without_effect(caplog):
    chosen = given("--trainfunc", "softmax", "--margin", 0.3, "--nOut", 64)
    assert [r.getMessage() for r in caplog.records] == [
        "warning: --margin has no effect with --trainfunc softmax. It is an option of --trainfunc "
        "aamsoftmax, aamsoftmax_subcenter, aamsoftmaxproto and 6 more."
    ]
    assert not hasattr(chosen, "margin")
    assert chosen.nOut == 64


def test_warning_for_an_option_whose_switch_is_off(caplog):
    given("--musan_path", "somewhere")
    given("--trainfunc", "aamsoftmax", "--margin_start", 0.1)
    given("--trainfunc", "aamsoftmax", "--margin_growth", "linear", "--margin_until", 5)
    assert "--musan_path has no effect without --augment" in caplog.text
    given("--trainfunc", "aamsoftmax", "--margin_growth", "linear", "--margin_until_epoch", 0.5)
    assert "--margin_start has no effect without --margin_until or --margin_until_epoch." in (
        caplog.text
    )
    assert "margin_growth" not in caplog.text
    given("--heads_number", 4, "--encoder_type", "DoubleMHA")
    assert "heads_number" not in caplog.text
    given("--heads_number", 4, "--encoder_type", "SAP")
    assert "--heads_number has no effect with --encoder_type SAP. It is an option" in caplog.text
    given("--num_eval", 3, "--eval_frames", 0)
    assert (
        "warning: --num_eval has no effect with --eval_frames 0, which uses complete files.\n"
    ) in caplog.text


ASP_IS_ECA = (
    "--encoder_type ASP means ECA (channel- and context-dependent attentive statistics) with "
    "--model ECAPA_TDNN. --encoder_type plain_ASP is plain attentive statistics."
)


@pytest.mark.parametrize(
    "words, lines",
    [
        ("--model ECAPA_TDNN", [ASP_IS_ECA]),
        ("--model ECAPA_TDNN --encoder_type ASP", [ASP_IS_ECA]),
        ("--model ECAPA_TDNN --encoder_type plain_ASP", []),
        ("--model ECAPA_TDNN --encoder_type SAP", []),
        ("--model ResNetSE34L --encoder_type ASP", []),
        ("--model MyLinearNet", []),
        ("--model ECAPA_TDNN --verify a.wav b.wav --save_path nowhere", []),
    ],
)
def test_another_meaning_of_a_pooling_is_one_line(words, lines, caplog):
    caplog.set_level("INFO")
    given(*words.split())
    assert [record.getMessage() for record in caplog.records] == lines


def test_options_of_other_poolings_have_no_effect(caplog):
    chosen = given("--encoder_type", "MHA", "--heads_number", 8, "--mask_prob", 0.25)
    assert chosen.heads_number == 8
    assert not hasattr(chosen, "mask_prob")
    assert [record.getMessage() for record in caplog.records] == [
        "warning: --mask_prob has no effect with --encoder_type MHA. It is an option of "
        "--encoder_type DoubleMHA."
    ]


# ---------------------------------------------------------------------- typed spellings
def test_messages_have_the_typed_spelling(config, caplog):
    path = config("embedding_size: 24\nnum_workers: 0\nwindow_size: 2\nlr: 0.1\n")
    words = ["--lr=0.2", "--num_utt", "2", "--config", str(path), "--no-augment", "--num_utt", "-1"]
    typed = TypedSpellings(words, {})
    assert typed.names == {
        "lr": "lr",
        "nPerSpeaker": "num_utt",
        "nOut": "embedding_size",
        "nDataLoaderThread": "num_workers",
        "max_frames": "window_size",
        "augment": "augment",
    }
    text = "--nPerSpeaker 2, --nOut: --nDataLoaderThread; --nOuter --max_frames 200 --num_spk"
    assert typed.in_text(text) == (
        "--num_utt 2, --embedding_size: --num_workers; --nOuter --max_frames 200 --num_spk"
    )
    # Log lines are rewritten too, with their arguments.
    log = logging.getLogger("trainSpeakerNet")
    log.addFilter(typed)
    try:
        log.warning("warning: --%s has %d %%", "nOut", 5)
    finally:
        log.removeFilter(typed)
    assert caplog.messages == ["warning: --embedding_size has 5 %"]


def test_the_last_spelling_counts(config):
    path = config("nSpeakers: 3\n")
    assert TypedSpellings(["--num_utt", "2", f"--config={path}"], {}).names["nPerSpeaker"] == (
        "nSpeakers"
    )
    # A file that cannot be read is reported by the parser.
    names = TypedSpellings(["--num_utt", "2", "--config", "none.yaml"], {}).names
    assert names == {"nPerSpeaker": "num_utt"}


def test_a_run_warns_in_the_typed_spelling(corpus, tmp_path, program):
    words = ["--trainfunc", "softmax", "--marginFactor", 0.3, "--max_steps", 1]
    code, out, err = program(*small_run(corpus, tmp_path, *words))
    assert code == 0, err
    assert "warning: --marginFactor has no effect with --trainfunc softmax." in out
    assert "--margin " not in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "--lr", "1"], "expected an option, found 'a'"),
        (
            ["--lr", "1", "--margin", "-5", "-6"],
            "--margin: expected one value (-5), found also '-6'",
        ),
        (["a.yaml"], "expected an option, found 'a.yaml'. Did you mean --config a.yaml?"),
        (["--lr=1", "2"], "--lr: expected one value (1), found also '2'"),
        (["--verify", "a", "b", "c"], "--verify: expected 2 values (a b), found also 'c'"),
        (["--verify", "a"], "--verify: expected 2 values, found fewer."),
        (["--seed", "1", "--no-augment", "1"], "--no-augment: expected no value because this is"),
        (["--seed", "2", "2", "--lr", "2"], "--seed: expected one value (2), found also '2'"),
        (["--test_list", "a", "b", "\t"], "found a blank word after --test_list a b. Probably"),
        (["--lr", "1", " ", "x"], "found a blank word after --lr 1. Probably"),
        (["--lr", "1", ""], "--lr: expected one value (1), found also ''"),
        ([" ", "--lr", "1"], "found a blank word at the start. Probably"),
        (["--batch_size", "many"], "--batch_size: expected a whole number or auto, found 'many'."),
        (["--nSpeaker", "1.5"], "--nSpeaker: expected a whole number, found '1.5'."),
        (["-x"], "unknown option -x. "),
        (["--num_uttt=3"], "unknown option --num_uttt. Did you mean --num_utt?"),
    ],
)
def test_words_that_cannot_be_read(words, message):
    with pytest.raises(InputError) as error:
        given(*words)
    assert str(error.value).startswith(message)


def test_older_configurations_hold_options_of_all_poolings(config, caplog):
    """Their defaults are no reason for a warning."""
    path = config("model: ECAPA_TDNN\nencoder_type: SAP\nheads_number: 32\nmask_prob: 0.3\n")
    chosen = given("--config", path)
    assert (chosen.model, chosen.encoder_type) == ("ECAPA_TDNN", "SAP")
    assert not caplog.records


def test_older_checkpoints_hold_options_of_all_poolings(caplog):
    stored = {"model": "VGG4L", "kernel_size": 64, "nOut": 24, "normalization": "cmvn"}
    stored |= {"encoder_type": "MHA", "heads_number": 16, "mask_prob": 0.25, "trainfunc": "softmax"}

    def read(path):
        return {"options": stored}

    words = ["--eval", "--initial_model", "old.model"]
    used, _ = parse(words, {}, "", read)
    assert (used.encoder_type, used.heads_number, used.kernel_size) == ("MHA", 16, 64)
    assert not caplog.records
    with pytest.raises(InputError, match="--heads_number 8 contradicts old.model, .* 16. Leave"):
        parse([*words, "--heads_number", "8"], {}, "", read)
    with pytest.raises(InputError, match="--encoder_type SAP contradicts old.model, .* MHA. Leave"):
        parse([*words, "--encoder_type", "SAP"], {}, "", read)


def test_a_checkpoint_with_an_unknown_pooling_is_refused():
    stored = {"model": "VGG4L", "encoder_type": "Mine", "trainfunc": "softmax"}
    with pytest.raises(InputError, match="--encoder_type Mine: there is no file pooling/Mine.py"):
        parse(["--eval", "--initial_model", "x.model"], {}, "", lambda path: {"options": stored})


def test_environment_variables(config):
    path = config("train_path: ${CORPUS}/wav\ntest_path: ${NO_SUCH_THING:-data}/wav\n")
    chosen = given("--config", path, environ={"CORPUS": "/corpus"})
    assert (chosen.train_path, chosen.test_path) == ("/corpus/wav", ["data/wav"])


@pytest.mark.parametrize("part", options.PARTS)
def test_every_option_of_a_component_is_explained(part):
    for name in options.components(part):
        assert all(option.help for option in options_of(part, name)), (part, name)


def help_text(capsys, *words):
    """The text that a command with --help or --help-all prints."""
    with pytest.raises(SystemExit) as end:
        parse(words, {}, trainSpeakerNet.__doc__, read_checkpoint)
    assert not end.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [pytest.param(40, marks=pytest.mark.slow), 300])
def test_help_fits_on_a_page(columns, capsys, monkeypatch):
    """--help has at most 80 lines of 100 columns for every network and loss, on any terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    models = options.components("model")
    losses = options.components("trainfunc")
    for model, loss in itertools.product(models, losses if columns == 40 else losses[:1]):
        lines = help_text(capsys, "--model", model, "--trainfunc", loss, "--help").splitlines()
        assert len(lines) <= 80, (model, loss)
        assert max(map(len, lines)) <= 100, (model, loss)


def test_help_has_the_options_of_daily_use(capsys):
    text = help_text(capsys, "--trainfunc", "aamsoftmax", "--help")
    assert text == help_text(capsys, "--trainfunc", "aamsoftmax", "-h")
    assert trainSpeakerNet.__doc__.strip() in text
    titles = re.findall(r"^(\w[^(:\n]*)(?: \(.*\))?:$", text.split("--verify a.wav")[1], re.M)
    assert titles == [
        *("What to do", "Data", "Network and loss", "Training", "Evaluation", "Computer"),
    ]
    for line in (
        "  --config YAML ",
        "  --model NAME                network, a file of models/ (default: ResNetSE34L)\n",
        "  --verify FILE FILE ",
        "  --initial_model CHECKPOINT ",
        "  --train_list LIST ",
        "  --test_path DIR ... ",
        "  --augment/--no-augment ",
        "  --margin X ",
        "  --lr X ",
        "  --dcf_p_target P ",
    ):
        assert line in text
    for absent in ("NAME NAME", "ECAPA_TDNN", "--port", "--num_utt", "--modelConfig", "False"):
        assert absent not in text
    assert "--help-all" in text.splitlines()[-2]


@pytest.mark.parametrize("model", options.components("model"))
def test_full_help_has_every_option_and_spelling(model, capsys):
    """--help-all has the options of the chosen components, in lines of at most 100 columns."""
    text = help_text(capsys, "--model", model, "--trainfunc", "sasv_multitask", "--help-all")
    shown = re.findall(r"^  --(\w+)", text, re.M)
    chosen = [options_of("model", model), options_of("trainfunc", "sasv_multitask")]
    for option in itertools.chain(*options.OPTIONS.values(), *chosen):
        assert option.name in shown
        for other, name in options.ALIASES.items():
            assert name != option.name or re.search(rf"--{other}\b", text), other
    assert max(map(len, text.splitlines())) <= 100
    assert "--window_size X" in text
    for part in options.PARTS:
        for name in options.components(part) if f"--{part} " in text else []:
            assert name in text


def test_help_of_the_programs_options_is_one_short_sentence():
    for option in itertools.chain(*options.OPTIONS.values()):
        assert option.help and not option.help.endswith("."), option.name
        assert option.help[0] in "'J" or option.help[0].islower(), option.name
        assert len(option.help.split()) <= 25, option.name
        # A text has no blank placeholder, and files and folders have one of their own.
        if option.kind is str:
            assert option.placeholder, option.name


def test_full_help_shows_the_chosen_components(capsys):
    for loss, margin in (("softmax", False), ("aamsoftmax", True)):
        text = " ".join(help_text(capsys, "--trainfunc", loss, "--help-all").split())
        assert ("--margin" in text) is margin
        assert ("trainfunc aamsoftmax:" in text) is margin
        for expected in ("model ResNetSE34L:", "--nPerSpeaker", "default: 200)", "--num_utt"):
            assert expected in text


@pytest.mark.parametrize(
    "encoder_type, options",
    [
        ("SAP", []),
        ("MHA", ["heads_number"]),
        ("DoubleMHA", ["heads_number", "mask_prob"]),
        ("MQMHA", ["heads_number", "queries"]),
    ],
)
def test_full_help_shows_the_chosen_pooling(encoder_type, options, capsys):
    text = help_text(capsys, "--encoder_type", encoder_type, "--help-all")
    for name in ("heads_number", "mask_prob", "queries"):
        assert (f"  --{name} " in text) is (name in options), name
    assert (f"encoder_type {encoder_type}:" in text) is bool(options)


def test_resolved_config_can_be_passed_back(config, tmp_path):
    first = given("--model", "ECAPA_TDNN", "--lr", 0.3, "--far", 0.5, 0.1, "--no-log_input")
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(configuration(first)))
    assert given("--config", path) == first


def test_checkpoint_brings_its_options(checkpoint):
    used = given("--eval", "--initial_model", checkpoint)
    assert (used.nOut, used.eval_frames, used.num_eval) == (32, 40, 2)
    assert used.trainfunc == "softmaxproto"
    assert given("--eval", "--initial_model", checkpoint, "--eval_frames", 0).eval_frames == 0
    # A fresh training takes the options of the model, and no others.
    assert given("--initial_model", checkpoint).nOut == 32
    assert given("--initial_model", checkpoint).eval_frames == 300


def test_run_folder_records_options_and_command(checkpoint, corpus):
    folder = checkpoint.parent.parent
    assert given("--config", folder / "config.yaml") == given(*small_run(corpus, folder))
    assert Path(folder, "command.txt").read_text().count("# revision ") == 1
