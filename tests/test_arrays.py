"""Arrays in files of others (.npy, .npz, .pickle): errors name the file, memory stays small."""

import argparse
import io
import pickle
import resource
from functools import partial

import numpy as np
import pytest

from common.errors import InputError
from corpus.embeddings import read_embeddings
from corpus.features import load_array
from corpus.pack_index import COLUMNS, read_index
from options.sources import read_settings

# A number of bytes that would be noticed: more than any test needs.
GIGABYTES = 1 << 32
# Bytes that a file of few bytes may need. The peak of a process is measured in kilobytes.
LITTLE = 100_000


def npy(header, data=bytes(64), version=b"\x01\x00"):
    """A .npy file with this text as its header."""
    size = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + header.encode() + data


def claims(shape, kind="<f4", data=bytes(64)):
    """A .npy file whose header claims an array of this shape."""
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n", data)


def saved(function, *values, **more):
    """The bytes of a file that NumPy writes."""
    file = io.BytesIO()
    function(file, *values, **more)
    return file.getvalue()


class Call:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


NPY = {
    "text": b"no array",
    "empty": b"",
    "npz": saved(np.savez, a=np.zeros((2, 8))),
    "damaged npz": b"PK\x03\x04 no zip file",
    "pickle": pickle.dumps(np.zeros((2, 8))),
    "object": saved(np.save, np.array([[{}]]), allow_pickle=True),
    "terabytes": claims((2**40, 8)),
    "gigabytes": claims((GIGABYTES, 1)),
    "gigabytes of texts": claims((1,), f"<U{1 << 30}"),
    "no number": claims((2**64, 2**64)),
    "negative": claims((-1, -16)),
    "one negative": claims((-1, 16)),
    "fewer": claims((1, 8)),
    "no bytes": claims((GIGABYTES,), "|V0", b""),
    "no letters": claims((GIGABYTES,), "|S0", b""),
    "open bracket": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2\n"),
    "brackets": npy("(" * 5000 + "\n"),
    "long": npy("{" + " " * 60_000 + "}\n"),
    "version 2": npy("{}\n", version=b"\x02\x00"),
    "long header of version 2": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "no shape": claims("None"),
}
PICKLES = {
    "memo": b"]r" + (2**29).to_bytes(4, "little") + b".",
    "bytes": b"\x80\x04B\xff\xff\xff\x7f",
    "bytearray": b"\x80\x05\x96" + GIGABYTES.to_bytes(8, "little"),
    "frame": b"\x80\x04\x95" + GIGABYTES.to_bytes(8, "little"),
    "array": pickle.dumps(Call(np.ndarray, (GIGABYTES,), np.dtype("f4"))),
    "type": pickle.dumps(np.dtype("O")),
    "object": pickle.dumps(np.array([[{}]], object)),
    "text": pickle.dumps(np.array([["a"]])),
    "state": pickle.dumps(np.zeros((2, 2)), 2).replace(b"K\x02K\x02", b"K\xffK\xff"),
    "coding": pickle.dumps(Call(__import__("codecs").encode, b"a", "zlib"), 2),
    "half": pickle.dumps(np.zeros((80, 80)))[:900],
}


# The array [[1.0], [2.0]] of float32, as Python 2 and NumPy 1 write it with protocol 2.
OF_PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    b"K\x02K\x01\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff"
    b"\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tb."
)


def refused(read, path, data):
    """Writes a file, and requires an error of few bytes that names it."""
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as found:
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LITTLE
    message = str(found.value)
    assert str(path) in message and message.endswith(".") and len(message) < 700, message


@pytest.mark.parametrize("read", [read_embeddings, load_array])
@pytest.mark.parametrize("name", NPY)
def test_odd_npy_files_are_refused(name, read, tmp_path):
    refused(read, tmp_path / "a.npy", NPY[name])


@pytest.mark.parametrize("read, name", [(load_array, "a.pickle"), (read_settings, "config.pkl")])
@pytest.mark.parametrize("case", PICKLES)
def test_odd_pickles_are_refused(case, read, name, tmp_path):
    refused(read, tmp_path / name, PICKLES[case])


def test_arrays_are_read_as_they_were_written(tmp_path):
    """By rows, by columns, in the other order of bytes, and as Python 2 wrote them."""
    x = np.arange(12, dtype=np.float64).reshape(3, 4)
    for array in (x, np.asfortranarray(x), x.astype(">f4"), x.astype("f2"), x[:1], x[:, :1]):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), array)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            (tmp_path / "a.pickle").write_bytes(pickle.dumps(array, protocol))
            np.testing.assert_array_equal(load_array(tmp_path / "a.pickle"), array.T)
    (tmp_path / "a.pickle").write_bytes(OF_PYTHON_2)
    np.testing.assert_array_equal(load_array(tmp_path / "a.pickle"), [[1, 2]])


def test_settings_of_others_are_read(tmp_path):
    settings = argparse.Namespace(kernel_size=1024, unknown=[1, "a", {}, None])
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "config.pkl").write_bytes(pickle.dumps(settings, protocol))
        values = {name: value for _, name, value in read_settings(str(tmp_path / "config.pkl"))}
        assert values == {"kernel_size": 1024, "eval_frames": 0}


INDEX = {
    "name": np.array([b"a.wav", b"b.wav"]),
    "shard": np.zeros(2, int),
    "first_byte": np.array([0, 200]),
    "frames": np.array([100, 100]),
    "bits": np.array([16, 16]),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "column",
    [
        np.array([2**40, 2**62]),
        np.array([-(2**63), 0]),
        np.array([np.inf, 0]),
        np.array([{}, {}]),
        np.array(["a", "b"]),
        np.zeros(3, int),
        np.zeros((2, 1), int),
    ],
)
def test_odd_columns_of_a_pack_are_refused(name, column, tmp_path):
    read = partial(lambda folder, _: read_index(folder), tmp_path)
    refused(read, tmp_path / "index.npz", saved(np.savez, **INDEX | {name: column}))


def test_a_column_that_claims_gigabytes_is_refused(tmp_path):
    """The header of a column claims another number of values than it has."""
    read = partial(lambda folder, _: read_index(folder), tmp_path)
    data = saved(np.savez, **INDEX)
    assert data.count(b"(2,), }") == 5
    for number in (b"9" * 7, b"-1     ", b"2**30  "):
        changed = data.replace(b"(2,), }      ", b"(" + number + b",), }")
        assert len(changed) == len(data) and changed != data
        refused(read, tmp_path / "index.npz", changed)
    (tmp_path / "index.npz").write_bytes(data)
    np.testing.assert_array_equal(read_index(tmp_path)["first_byte"], [0, 200])
