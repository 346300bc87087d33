"""YAML files of options: environment variables, the types of values, and damaged files."""

import re

import pytest
import yaml
from conftest import small_run

from common.errors import InputError
from common.variables import escaped, unescaped
from network.checkpoints import read_checkpoint
from options.config_file import load_options
from options.parser import parse
from options.run_options import config_text


@pytest.fixture
def given(tmp_path):
    """A function that reads the options of a YAML text, with environment variables."""

    def read(text, *words, **environ):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if type(text) is bytes else text.encode("utf-8", "surrogatepass"))
        argv = ["--config", str(path), *map(str, words)]
        return parse(argv, environ, "", read_checkpoint)[0]

    return read


# ---------------------------------------------------------------------- environment variables
@pytest.mark.parametrize(
    "value",
    [
        "null", "~", "007", "1_0", "12:30:00", "run # 3", "a: b", "x\nlr: 5", "[a, b]", "'", '"',
        "true", "2026-11-28", "- a", "*x", "&x", "!!int 3", "{a: b}", "${HOME}", "$${HOME}", "%x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("line", ["${RUN}", "'${RUN}'", '"${RUN}"', "${RUN:-other}"])
def test_a_variable_is_text(tmp_path, value, line):
    path = tmp_path / "c.yaml"
    path.write_text(f"save_path: {line}\ntrain_list: exps/${{RUN}}/x\n")
    expected = {"save_path": value, "train_list": f"exps/{value}/x"}
    assert load_options(str(path), {"RUN": value}) == expected


def test_variables_have_the_type_of_their_option(given):
    text = "lr: ${LR}\naugment: ${AUG:-true}\nfar: [0.5, '${FAR}', ${FAR}]\nseed: ${SEED:-4}\n"
    found = given(text, LR="1e-2", FAR="0.25", SEED="")
    assert (found.lr, found.augment, found.far, found.seed) == (0.01, True, [0.5, 0.25, 0.25], 4)
    with pytest.raises(InputError, match=r"c\.yaml: seed: expected a whole number, found 'null'"):
        given("seed: ${SEED}\n", SEED="null")


def test_an_empty_variable_is_an_error(given):
    for line in ("save_path: ${RUN}", "save_path: exps/${RUN}"):
        with pytest.raises(InputError, match=r"c\.yaml: save_path: .* RUN is empty\. Set it to a"):
            given(line, RUN="")
        with pytest.raises(InputError, match=r"c\.yaml: save_path: .* RUN is not set\. Set it"):
            given(line)
    assert given("save_path: exps/a${RUN:-}\n", RUN="").save_path == "exps/a"
    # An empty default is an empty line.
    assert given("train_list: ${LIST:-}\n").train_list is None


def test_a_variable_in_a_comment_counts_for_nothing(given):
    assert given("# ${NOT_SET}\nseed: 3\n").seed == 3


def test_errors_of_yaml_show_the_text_of_the_user(given):
    with pytest.raises(InputError, match=r"it is not YAML: .*\$\{A:-b\}"):
        given("lr: [${A:-b}\n", A="1")


@pytest.mark.parametrize("name", ["a${HOME}b", "$${HOME}", "${X:-${HOME}}", "$HOME", "$$$", "${}"])
def test_literal_names_survive_the_config_of_a_run(given, name):
    first = given("seed: 1\n", "--save_path", name, "--test_list", name, "b")
    text = config_text(first)
    assert given(text, HOME="/root") == first
    assert unescaped(escaped([name])) == [name]
    assert unescaped(yaml.safe_load(text)["save_path"]) == name


def test_two_dollars_are_one(given):
    assert given("save_path: exps/$${HOME}\n", HOME="/root").save_path == "exps/${HOME}"


def test_a_run_keeps_its_name(program, corpus, tmp_path):
    folder = tmp_path / "${HOME}"
    assert program(*small_run(corpus, folder, "--max_epoch", 1))[0] == 0
    code, out, err = program("--config", folder / "config.yaml")
    assert (code, err) == (0, "")
    assert str(folder) in out


# ---------------------------------------------------------------------- types and bounds
def test_texts_stay_as_they_are_written(given):
    text = "save_path: 007\ntrain_list: 12:30:00\ntrain_path: 2026-11-28\ntest_path: [1_0, 1e5]\n"
    found = given(text)
    assert (found.save_path, found.train_list) == ("007", "12:30:00")
    assert (found.train_path, found.test_path) == ("2026-11-28", ["1_0", "1e5"])


# A line of YAML -> what the error says after the place.
WRONG = {
    "seed: 18446744073709551616": "seed: expected at most 9223372036854775807, found 18446744073",
    "max_frames: 2147483648": "max_frames: expected at most 2147483647, found 2147483648.",
    f"seed: {'9' * 5000}": "seed: expected a whole number, found '9999",
    "seed: 2026-11-28": "seed: expected a whole number, found '2026-11-28'",
    "seed: 1.5": "seed: expected a whole number, found '1.5'",
    "seed: .inf": "seed: expected a whole number, found '.inf'",
    "seed: !!float nan": "seed: expected a whole number, found 'nan'",
    "port: 65536": "port: expected at most 65535, found 65536.",
    "nDataLoaderThread: 2000": "nDataLoaderThread: expected at most 1024, found 2000.",
    "lr: .nan": "lr: expected a number, found '.nan'",
    "lr: nan": "lr: expected a finite number, found 'nan'",
    "lr: 1e400": "lr: expected a finite number, found '1e400'",
    "lr: !!timestamp 2026-11-28": "lr: expected one value",
    "lr: {a: 1}": "lr: expected one value",
    "lr: [[1]]": "lr: expected one value",
    "lr: true": "lr: expected one value",
    "lr: !!binary aGk=": "lr: expected one value",
    "lr: !!set {a, b}": "lr: expected one value",
    "far: !!omap [a: 1]": "far: expected values",
    "far: [[0.1]]": "far: expected values",
    "far: &a [*a]": "far: expected values",
    "far: &a [[*a]]": "far: expected values",
    "far: [0.1, --lr=5]": "far: expected values",
    "speed_factors: [nan]": "speed_factors: expected a finite number, found 'nan'",
    "speed_factors: [0.9, inf]": "speed_factors: expected a finite number, found 'inf'",
    "window_size: inf": "window_size: expected a finite number, found 'inf'",
    "nOut: -5": "nOut: expected at least 1, found -5.",
    "n_mels: 0": "n_mels: expected at least 1, found 0.",
    "augment: maybe": "augment: expected true or false, found 'maybe'.",
    "augment: 1": "augment: expected true or false, found '1'.",
    'save_path: "a\\0b"': "save_path: expected text, found a character that no text contains",
    'save_path: "\\uD800"': "save_path: expected text, found a character that no text contains",
    "? [a, b]\n: 1": "expected YAML, but it is not YAML",
    "? {a: b}\n: 1": "expected YAML, but it is not YAML",
    "lr: !!python/object:os.system 3": "expected YAML, but it is not YAML",
    "lr: !!int many": "expected YAML, but it is not YAML",
    "lr: !!int": "expected YAML, but it is not YAML",
    "lr: !!timestamp 2026-99-99": "expected YAML, but it is not YAML",
    "lr: !!bool 7": "expected YAML, but it is not YAML",
    "lr: *x": "expected YAML, but it is not YAML",
    "lr: \x00": "expected YAML, but it is not YAML",
    "lr: [" + "[" * 1200: "expected lines 'option: value', found lists in lists, too deep to read.",
    "7": "expected lines 'option: value', found str.",
    "- lr": "expected lines 'option: value', found list.",
    "": "expected lines 'option: value', found nothing.",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_wrong_values_are_named(given, text):
    with pytest.raises(InputError) as error:
        given(text)
    message = str(error.value)
    assert re.search(r"^\S*/c\.yaml: ", message)
    assert message.partition("/c.yaml: ")[2].startswith(WRONG[text])
    assert len(message) < 1000 and "\n" not in message


def test_an_alias_that_grows_is_refused_at_once(given):
    lines = ["a: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"b{n}: &x{n + 1} [{', '.join([f'*x{n}'] * 10)}]" for n in range(12)]
    with pytest.raises(InputError, match=r"far: expected values .*, found \[\["):
        given("\n".join(lines + ["far: *x12"]))


def test_a_device_without_numbers_is_refused(program, corpus, tmp_path):
    code, _, err = program(*small_run(corpus, tmp_path / "run", "--device", "meta"))
    assert code == 2
    assert err.startswith("error: --device meta: the device cannot be used (")


def test_the_largest_seed_works(program, corpus, tmp_path):
    words = small_run(corpus, tmp_path / "run", "--max_steps", 1, "--seed", 2**63 - 1)
    assert program(*words)[0] == 0


# ---------------------------------------------------------------------- keys of other projects
PUBLISHED = "model: ResNetSE34L\ntrainfunc: amsoftmax\nnLcasses: 5994\nmargin: 0.2\ngpu_id: 0\n"


def test_foreign_keys_of_published_files_are_named_and_skipped(given, caplog):
    with caplog.at_level("INFO", logger="trainSpeakerNet"):
        found = given(PUBLISHED)
    assert (found.trainfunc, found.margin, found.nClasses) == ("amsoftmax", 0.2, None)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert re.fullmatch(r"warning: \S*/c\.yaml: nLcasses: this key is skipped: .*\.", lines[0])
    assert re.fullmatch(r"warning: \S*/c\.yaml: gpu_id: this key is skipped: .*\.", lines[1])


@pytest.mark.parametrize("key", ["nClasess", "nlcasses", "gpuid"])
def test_other_unknown_keys_stop_the_run(given, key):
    with pytest.raises(InputError, match=rf"c\.yaml: {key}: unknown option\."):
        given(f"{PUBLISHED}{key}: 3\n")


def test_a_published_file_trains(program, corpus, tmp_path):
    path = tmp_path / "ResNetSE34L_AM.yaml"
    path.write_text(PUBLISHED)
    words = small_run(corpus, tmp_path / "run", "--config", path, "--max_steps", 1)
    code, out, err = program(*words)
    assert (code, err) == (0, "")
    assert out.count("nLcasses: this key is skipped") == 1
