"""Spoofing-aware lists: ASVspoof 2019, ASVspoof 5 and SpoofCeleb.

Lists, enrolment, where the files are, and batches with a quota of spoofed speech.
"""

import itertools
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from corpus.enrolment import check_against_meta, read_speaker_meta
from corpus.files import find_files
from corpus.lists import (
    Utterance,
    classes_of,
    described,
    described_trials,
    read_train_list,
    read_trials,
    speed_copies,
)
from DatasetLoader import TrainDataset
from training.sampling import GroupSampler, QuotaSampler

PROTOCOLS = Path(os.environ.get("SPEECH_DATA") or "/nowhere").parent / "protocols"
real_lists = pytest.mark.skipif(
    not PROTOCOLS.is_dir(), reason="the public protocols are not beside SPEECH_DATA"
)


def text(folder, name, *lines):
    """Writes a text file and returns its path as a string."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / name)


# ---------------------------------------------------------------------- train lists
@pytest.mark.parametrize(
    "lines",
    [
        ["s1 T_01 - - bonafide", "s1 T_02 - A01 spoof", "s2 wav/T_03 - A02 spoof"],
        ["s1 T_01 F - - bonafide", "s1 T_02 M C05 A01 spoof", "s2 wav/T_03 M - A02 spoof"],
        [
            "s1 T_01 F - - - - bonafide bonafide -",
            "s1\tT_02\tF\t-\t-\t-\tAC3\tA01\tspoof\t-",
            "s2 wav/T_03 M C01 1 7 AC1 A02 spoof -",
        ],
    ],
)
def test_train_lists(tmp_path, lines):
    assert read_train_list(text(tmp_path, "l", *lines)) == [
        ("s1", "T_01", "-", 1.0),
        ("s1", "T_02", "A01", 1.0),
        ("s2", "wav/T_03", "A02", 1.0),
    ]


@pytest.mark.parametrize("header", [[], ["file,speaker,attack"]])
def test_train_list_of_spoofceleb(tmp_path, header):
    path = text(tmp_path, "train.csv", *header, "a00/id1/x.flac,id1,a00", "a07/id1/y.flac,id1,a07")
    assert read_train_list(path) == [
        ("id1", "a00/id1/x.flac", "-", 1.0),
        ("id1", "a07/id1/y.flac", "a07", 1.0),
    ]
    path = text(tmp_path, "twice.csv", *header, "x,id1,a00", "x,id2,a01")
    first_line = 1 + len(header)
    message = (
        rf"twice.csv:{first_line + 1}: expected each file once, but x \(speaker id2\) is also in "
        rf"line {first_line} \(speaker id1\)"
    )
    with pytest.raises(InputError, match=message):
        read_train_list(path)


@pytest.mark.parametrize(
    "lines, number",
    [
        (["s a - - bonafide", "s b - A01 bonafide"], 2),
        (["s a - - spoof"], 1),
        (["s a - A01 fake"], 1),
        (["s a - A01 spoof", "s b"], 2),
        (["s a F - A01 bonafide"], 1),
        (["file,speaker,attack", "a,s,b01"], 2),
    ],
)
def test_bad_train_lists(tmp_path, lines, number):
    with pytest.raises(InputError, match=rf"l:{number}: expected '<.*, found "):
        read_train_list(text(tmp_path, "l", *lines))


def test_spoofed_speech_is_the_last_class():
    utterances = [
        Utterance("zoe", "a"),
        Utterance("zoe", "b", "A01"),
        Utterance("tom", "c"),
        Utterance("none but spoofed", "d", "A02"),
    ]
    assert classes_of(utterances) == {"tom": 0, "zoe": 1, "spoof": 2}
    # The head has 41 classes, and spoofed speech is the last one.
    assert classes_of(utterances, 41) == {"tom": 0, "zoe": 1, "spoof": 40}
    # A head with too few classes is refused elsewhere.
    assert classes_of(utterances, 2) == {"tom": 0, "zoe": 1, "spoof": 2}
    assert set(classes_of(speed_copies(utterances, [0.9]))) == {
        "tom",
        "zoe",
        "tom@0.9",
        "zoe@0.9",
        "spoof",
    }
    with pytest.raises(InputError, match="--train_list: a speaker is named 'spoof'"):
        classes_of([Utterance("spoof", "a"), Utterance("tom", "b", "A01")])


def test_description():
    utterances = [
        Utterance("a", "1"),
        Utterance("b", "2"),
        *(Utterance("a", str(i), "A02") for i in range(3, 6)),
        Utterance("b", "6", "A01"),
    ]
    assert described(utterances) == "2 speakers, 2 utterances; 4 spoofed: A01 1, A02 3"
    assert described(utterances[:2]) == "2 speakers, 2 utterances"


# ---------------------------------------------------------------------- trials and enrolment
@pytest.mark.parametrize(
    "name, enrolment, lines",
    [
        (
            "X.asv.eval.gi.trl.txt",
            "X.asv.eval.female.trn.txt",
            ["s1 E_1 bonafide target", "s1 E_2 bonafide nontarget", "s2 E_1 A07 spoof"],
        ),
        (
            "asv.eval.trl.txt",
            "asv.eval.trn.txt",
            ["s1 E_1 bonafide target", "s1 E_2 bonafide nontarget", "s2 E_1 A07 spoof"],
        ),
        (
            "ASVspoof5.dev.trial.txt",
            "ASVspoof5.dev.enroll.txt",
            ["s1 E_1 target", "s1 E_2 nontarget", "s2 E_1 spoof"],
        ),
        (
            "V.dev.track_2.trial.tsv",
            "V.dev.track_2.enroll.tsv",
            [
                "s1\tE_1\tF\t-\tbonafide\ttarget\t-",
                "s1 E_2 F - bonafide nontarget -",
                "s2 E_1 F C1 A07 spoof -",
            ],
        ),
    ],
)
def test_trials_with_enrolment_beside_them(tmp_path, name, enrolment, lines):
    text(tmp_path, enrolment, "s1 A_1,A_2", "s2 A_3", "s3 A_4")
    trials = read_trials(text(tmp_path, name, *lines))
    attack = "spoof" if "ASVspoof5" in name else "A07"
    assert trials.lines == [
        "s1 E_1 bonafide target",
        "s1 E_2 bonafide nontarget",
        f"s2 E_1 {attack} spoof",
    ]
    assert trials.models == [("A_1", "A_2"), ("A_3",)]
    assert trials.files == ["E_1", "E_2"]
    assert trials.enrol.tolist() == [0, 0, 1]
    assert trials.test.tolist() == [0, 1, 0]
    assert trials.label.tolist() == [True, False, False]
    assert trials.kinds.tolist() == ["target", "nontarget", "spoof"]
    assert trials.attacks.tolist() == ["bonafide", "bonafide", attack]
    assert described_trials(trials) == (
        "3 trials of 2 files against 2 enrolled speakers: nontarget 1, spoof 1, target 1 "
        f"({attack} 1)"
    )
    found = trials.renamed(
        {"A_1": "x/A_1.flac", "A_2": "x/A_2.flac", "A_3": "3", "E_1": "e", "E_2": "f"}
    )
    assert found.paths() == ["x/A_1.flac", "x/A_2.flac", "3", "e", "f"]
    assert found.lines == trials.lines


@pytest.mark.parametrize("header", [[], ["enrollment,test,label"]])
def test_trials_of_spoofceleb(tmp_path, header):
    trials = read_trials(
        text(tmp_path, "p.csv", *header, "a/1.flac,b/2.flac,target", "a/1.flac,c/3.flac,spoof")
    )
    assert trials.lines == [
        "a/1.flac b/2.flac bonafide target",
        "a/1.flac c/3.flac spoof spoof",
    ]
    assert trials.models == [("a/1.flac",)]


def test_unlabelled_trials_after_a_header(tmp_path):
    """The header has another number of columns than the trials."""
    trials = read_trials(text(tmp_path, "p.csv", "a,header,line", "a,b", "c,b"))
    assert trials.lines == ["a b", "c b"]
    assert trials.models == [("a",), ("c",)]
    assert trials.files == ["b"]
    assert trials.label is None


def test_enrolment_lists_given_and_tables(tmp_path):
    path = text(tmp_path, "trials.txt", "s1 E_1 bonafide target", "s2 E_2 bonafide nontarget")
    message = (
        "expected enrolment files for 2 speakers, found none for 2 of them in the folder of this "
        "list: s1, s2. Add --enroll_list LIST"
    )
    with pytest.raises(InputError, match=message):
        read_trials(path)
    lists = [text(tmp_path, "women", "s1 A_1"), text(tmp_path, "men", "s2 A_2,A_3")]
    assert read_trials(path, lists).models == [("A_1",), ("A_2", "A_3")]
    with pytest.raises(InputError, match="found none for 1 of them in .*women: s2"):
        read_trials(path, lists[:1])
    table = tmp_path / "meta.pk"
    utterances = {
        "s1": {"bonafide": ["B_1"], "spoof": []},
        "s2": {"bonafide": ["E_2", "B_2"], "spoof": ["B_3"]},
    }
    table.write_bytes(pickle.dumps(utterances))
    # Lists come before the table. The table enrols neither tested nor spoofed utterances.
    assert read_trials(path, lists[:1], str(table)).models == [("A_1",), ("B_2",)]
    with pytest.raises(
        InputError,
        match="again:2: expected one line for each speaker .*, but s1 has an earlier line",
    ):
        read_trials(
            path,
            [text(tmp_path, "again", "s2 A_2", "s1 A_4"), text(tmp_path, "first", "s1 A_1")][::-1],
        )
    with pytest.raises(
        InputError, match="bad:1: expected '<speaker> <file>,<file>,...', found 's1 A_1 A_2'"
    ):
        read_trials(path, [text(tmp_path, "bad", "s1 A_1 A_2")])


class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"s": {"bonafide": Code()}}), "builtins.exec"),
        (pickle.dumps(np.zeros(3)), "numpy"),
        (b"no pickle", "found another content"),
        (b"", "found another content"),
        (pickle.dumps({"s": ["a"]}), "another structure"),
        (pickle.dumps({"s": {"real": ["a"]}}), "another structure"),
        (pickle.dumps({"s": {"bonafide": [1]}}), "another structure"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    (tmp_path / "meta.pk").write_bytes(content)
    with pytest.raises(InputError, match=f"meta.pk: expected .*{message}"):
        read_speaker_meta(tmp_path / "meta.pk")


def test_training_list_must_agree_with_its_table(tmp_path):
    (tmp_path / "meta.pk").write_bytes(
        pickle.dumps({"s1": {"bonafide": ["T_1"], "spoof": ["T_2"]}})
    )
    utterances = [
        Utterance("s1", "x/wav/T_1.wav"),
        Utterance("s1", "T_2", "A01"),
        Utterance("s9", "unknown"),
    ]
    check_against_meta(utterances, tmp_path / "meta.pk", "list")
    for wrong in (Utterance("s2", "T_1"), Utterance("s1", "T_1", "A01")):
        with pytest.raises(
            InputError, match="list: T_1 is .* but bonafide speech of speaker s1 in .*meta.pk"
        ):
            check_against_meta([*utterances[1:], wrong], tmp_path / "meta.pk", "list")


@pytest.mark.parametrize(
    "bad",
    [
        ["s a bonafide spoof"],
        ["s a A01 target"],
        ["s a - other"],
        ["s a bonafide target", "s a target"],
    ],
)
def test_bad_trials(tmp_path, bad):
    with pytest.raises(InputError, match=rf"l:{len(bad)}: expected '<.*, found "):
        read_trials(text(tmp_path, "l", *bad))


@real_lists
def test_public_protocols():
    """The readers accept every line of the public lists, and find every speaker's enrolment."""
    train = read_train_list(PROTOCOLS / "ASVspoof2019.LA.cm.train.trn.txt")
    both = read_train_list(PROTOCOLS / "ASVspoof2019.LA.cm.train_dev.trn.txt")
    assert described(train) == "20 speakers, 2,580 utterances; 22,800 spoofed: " + ", ".join(
        f"A0{i} 3,800" for i in range(1, 7)
    )
    assert described(both) == "40 speakers, 5,128 utterances; 45,096 spoofed: " + ", ".join(
        f"A0{i} 7,516" for i in range(1, 7)
    )
    check_against_meta(both, PROTOCOLS / "spk_meta_trn.pk", "train_dev")
    assert len(classes_of(both)) == 41
    trials = read_trials(PROTOCOLS / "ASVspoof2019.LA.asv.eval.gi.trl.txt")
    assert Counter(trials.kinds.tolist()) == {"target": 5370, "nontarget": 33327, "spoof": 63882}
    assert len(trials.models) == 48
    assert sorted({len(m) for m in trials.models})[0] == 11
    assert not set(trials.files) & set(sum(trials.models, ()))
    dev = PROTOCOLS / "ASVspoof2019.LA.asv.dev.gi.trl.txt"
    # The enrolment lists of the development set are not in this folder.
    with pytest.raises(
        InputError, match="expected enrolment files for 10 speakers, found none for 10 of them"
    ):
        read_trials(dev)


@real_lists
def test_public_dev_trials(tmp_path):
    dev = PROTOCOLS / "ASVspoof2019.LA.asv.dev.gi.trl.txt"
    speakers = sorted({line.split()[0] for line in dev.read_text().splitlines()})
    lines = [f"{speaker} LA_D_A1{speaker[3:]},LA_D_A2{speaker[3:]}" for speaker in speakers]
    trials = read_trials(dev, [text(tmp_path, "enrolment", *lines)])
    assert Counter(trials.kinds.tolist()) == {"target": 1484, "nontarget": 5768, "spoof": 22296}
    assert len(trials.models) == 10


# ---------------------------------------------------------------------- files
@pytest.mark.parametrize(
    "names, files",
    [
        (
            ["LA_T_1", "LA_T_2", "LA_D_1"],
            [
                "ASVspoof2019_LA_train/flac/LA_T_1.flac",
                "ASVspoof2019_LA_train/flac/LA_T_2.flac",
                "ASVspoof2019_LA_dev/flac/LA_D_1.flac",
            ],
        ),
        (
            ["ASVspoof2019_LA_train/wav/LA_T_1", "ASVspoof2019_LA_train/wav/LA_T_2"],
            ["ASVspoof2019_LA_train/flac/LA_T_1.flac", "ASVspoof2019_LA_train/wav/LA_T_2.wav"],
        ),
        (["T_1", "D_1", "E_1"], ["flac_T/T_1.flac", "flac_D/D_1.flac", "flac_E_eval/E_1.flac"]),
        (["a00/x.flac", "a01/y.flac"], ["flac/train/a00/x.flac", "flac/development/a01/y.flac"]),
        (["a", "b.wav", "c"], ["a.flac", "b.wav", "c"]),
    ],
)
def test_where_files_are(tmp_path, names, files):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    want = dict(zip(names, files, strict=True)) | {"nowhere": None}
    assert find_files(str(tmp_path), [*names, names[0], "nowhere"]) == want


# ---------------------------------------------------------------------- batches
def corpus_of(real, spoofed, attacks=3):
    """Utterances of speakers s0, s1, ...; real, spoofed: numbers of utterances of each speaker."""
    utterances = []
    for i, number in enumerate(real):
        utterances += [Utterance(f"s{i}", f"b{i}-{j}") for j in range(number)]
    for i, number in enumerate(spoofed):
        for j in range(number):
            utterances.append(Utterance(f"s{i}", f"x{i}-{j}", f"A{j % attacks + 1:02d}"))
    return utterances


def enough_utterances(utterances, num_spk, m, quota, most, balance):
    """Whether a batch of num_spk real and `quota` spoofed groups of m utterances is possible."""
    real = Counter(u.speaker for u in utterances if not u.spoofed)
    spoofed = Counter((u.speaker, u.attack if balance else "") for u in utterances if u.spoofed)
    speakers = sum(min(number, most) >= m for number in real.values())
    groups = sum(min(number, most) // m for number in spoofed.values())
    return speakers >= num_spk and groups >= quota


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(2, 12),
    st.booleans(),
    st.integers(0, 3),
)
def test_batches_keep_the_quota(real, spoofed, num_spk, m, quota, most, balance, epoch):
    utterances = corpus_of([*real, 1], spoofed)
    sizes = {
        "num_spk": num_spk,
        "batch_size": (num_spk + quota) * m,
        "nPerSpeaker": m,
        "max_seg_per_spk": most,
        "balance_attacks": balance,
    }
    try:
        sampler = QuotaSampler(utterances, seed=1, **sizes)
    except InputError as error:
        enough = enough_utterances(utterances, num_spk, m, quota, most, balance)
        message = str(error)
        assert (not enough and " found " in message) or "but the list has" in message
        return
    sampler.set_epoch(epoch)
    batches = [rows for _, rows in sampler]
    assert len(batches) == len(sampler) > 0
    assert sampler.utterances == (num_spk + quota) * m
    used = []
    for batch in batches:
        assert len(batch) == num_spk + quota
        for number, rows in enumerate(batch):
            used += rows
            group = [utterances[i] for i in rows]
            assert len(group) == m
            assert len({u.speaker for u in group}) == 1
            assert {u.spoofed for u in group} == {number >= num_spk}
            if balance:
                assert len({u.attack for u in group}) == 1
        assert len({utterances[rows[0]].speaker for rows in batch[:num_spk]}) == num_spk
    assert len(set(used)) == len(used)
    again = QuotaSampler(utterances, seed=1, **sizes)
    again.set_epoch(epoch, skip=len(batches) - 1)
    assert [rows for _, rows in again] == batches[-1:]


def test_attacks_are_balanced():
    """A03 is five times rarer than the other attacks.

    With balance it has a third of the spoofed speech in every batch while it lasts. Without
    balance it has its share of the list.
    """
    utterances = corpus_of([8] * 12, [], 1)
    for attack, number in (("A01", 480), ("A02", 480), ("A03", 96)):
        for i in range(number):
            utterances.append(Utterance(f"s{i % 12}", f"{attack}-{i}", attack))
    counts = {True: [], False: []}
    for balance in (False, True):
        sampler = QuotaSampler(
            utterances,
            num_spk=6,
            batch_size=24,
            nPerSpeaker=2,
            max_seg_per_spk=100,
            seed=0,
            balance_attacks=balance,
        )
        for _, rows in sampler:
            spoofed_rows = itertools.chain(*rows[6:])
            counts[balance].append(Counter(utterances[i].attack for i in spoofed_rows))
    for of_batch in counts[True]:
        assert of_batch == {"A01": 4, "A02": 4, "A03": 4}
    assert sum(of_batch["A03"] for of_batch in counts[False]) < 0.2 * 12 * len(counts[False])


def test_published_batches():
    """Batches of ASVspoof 2019 train and dev as published, with 160 utterances.

    Two real utterances of each of 40 speakers, and 40 groups of two spoofed utterances.
    """
    utterances = corpus_of([128] * 40, [1127] * 40, 6)
    sampler = QuotaSampler(
        utterances, num_spk=40, batch_size=160, nPerSpeaker=2, max_seg_per_spk=10000, seed=10
    )
    # Real speech is used up first, after 40 * 128 / 80 batches.
    assert len(sampler) == 64
    assert sampler.quota == 40
    epochs = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        epochs.append([rows for _, rows in sampler])
    assert epochs[0] != epochs[1]
    spoofed_rows = set()
    for rows in epochs[0]:
        spoofed_rows |= set(itertools.chain(*rows[40:]))
    assert len(spoofed_rows) == 64 * 80


@pytest.mark.parametrize(
    "real, spoofed, sizes, message",
    [
        ([4] * 4, [], (2, 8), "the list has 16 utterances of real speech and 0 of spoofed"),
        ([], [4] * 3, (2, 8), "the list has 0 utterances of real"),
        (
            [4] * 4,
            [4] * 4,
            (2, 7),
            r"expected a multiple of 2 \(--nPerSpeaker\) above 4 .*found 7\.",
        ),
        ([4] * 4, [4] * 4, (4, 8), r"multiple of 2 \(--nPerSpeaker\) above 8 .*found 8\."),
        (
            [4] * 4,
            [1] * 9,
            (2, 8),
            "expected at least 2 groups of 2 spoofed utterances of one speaker, found 0: .* 16 "
            r"utterances of real speech and 9 of spoofed speech \(A01 9\)",
        ),
        ([1] * 4, [4] * 4, (2, 8), "expected speakers with at least 2 utterances, found at most 1"),
        ([4], [4] * 4, (2, 8), "--num_spk 2: expected at least 2 speakers"),
    ],
)
def test_batches_that_cannot_be_filled(real, spoofed, sizes, message):
    with pytest.raises(InputError, match=message):
        QuotaSampler(
            corpus_of(real, spoofed),
            num_spk=sizes[0],
            batch_size=sizes[1],
            nPerSpeaker=2,
            max_seg_per_spk=100,
            seed=0,
        )


def test_without_a_quota_spoofed_speech_has_groups_of_its_own():
    utterances = corpus_of([4] * 3, [4] * 3)
    sampler = GroupSampler(utterances, batch_size=6, nPerSpeaker=2, max_seg_per_spk=100, seed=0)
    for _, rows in sampler:
        owners = []
        for group in rows:
            found = {(utterances[i].speaker, utterances[i].spoofed) for i in group}
            assert len(found) == 1
            owners += found
        assert sorted(owners) == [*itertools.product(("s0", "s1", "s2"), (False, True))]


def test_labels_of_a_batch(tmp_path):
    utterances = [
        Utterance("b", str(tmp_path / "1.wav")),
        Utterance("a", str(tmp_path / "2.wav")),
        Utterance("b", str(tmp_path / "3.wav"), "A01"),
    ]
    for u in utterances:
        soundfile.write(u.path, np.zeros(9000, np.int16), 16000)
    batch = TrainDataset(utterances, "", max_frames=20, seed=0)[1, [[0], [1], [2]]]
    assert batch["label"].tolist() == [1, 0, 2]
    assert batch["spoof"].tolist() == [False, False, True]
    assert batch["spoof"].dtype == torch.bool
    batch = TrainDataset(utterances, "", classes_of(utterances, 9), max_frames=20, seed=0)[1, [[2]]]
    assert batch["label"].tolist() == [8]
