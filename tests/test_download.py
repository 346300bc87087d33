"""Downloads of dataprep.py from a server on loopback.

The tests use passwords and keys, resume downloads, let the server misbehave, compare MD5 sums,
search messages and files for secrets, and kill the program at random points.
"""

import hashlib
import random
from collections import Counter
from types import SimpleNamespace

import pytest
from loopback import catalogue, kill_until_done, run, serving, tree

from common.errors import InputError
from prep import download, obtain, output, sources
from prep.constants import CATALOGUES
from prep.download import Access
from prep.obtain import Request

PASSWORD = "hunter2&pass"
KEY = "k/e+y"
# No message and no file may contain a secret. The last secret is the key as part of a URL.
SECRETS = (PASSWORD, KEY, "k%2Fe%2By")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No waiting, small chunks, and no passwords of the user who runs the tests."""
    monkeypatch.setattr(download, "FIRST_WAIT", 0)
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("USER", "PASSWORD", "KEY"):
        monkeypatch.delenv(f"VOXCELEB_{name}", raising=False)


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def files(server, tmp_path):
    """Three files on the server, and a file list with their MD5 sums."""
    for name, size in (("a.bin", 5000), ("b.bin", 12345), ("c.txt", 1)):
        server.files[name] = random.Random(name).randbytes(size)
    fields = {name: {"md5": md5(data)} for name, data in server.files.items()}
    catalogue(tmp_path / "list.yaml", server, fields)
    return server.files


@pytest.fixture
def get(tmp_path, server, files, capsys):
    """get(*words) downloads. It returns the exit code and the printed text.

    It also asserts that neither the text nor any file contains a secret.
    """

    def call(*words):
        capsys.readouterr()
        folder = tmp_path / "data"
        file_list = tmp_path / "list.yaml"
        code = run("--save_path", folder, "--download", "--file_list", file_list, *words)
        text = "".join(capsys.readouterr())
        for secret in SECRETS:
            assert secret not in text
            assert not any(secret.encode() in data for data in tree(folder).values())
        return code, text

    return call


@pytest.fixture
def second_server():
    yield from serving()


def assert_complete(tmp_path, files):
    """The folder contains only the given files and their MD5 sums."""
    found = tree(tmp_path / "data")
    sums = found.pop("MD5SUMS").decode()
    assert found == files
    assert sums == "".join(f"{md5(data)}  {name}\n" for name, data in sorted(files.items()))


# ---------------------------------------------------------------------- passwords and keys
def test_downloads_once(get, server, files, tmp_path):
    assert get()[0] == 0
    assert_complete(tmp_path, files)
    server.requests.clear()
    assert get()[0] == 0
    assert not server.requests


def test_password(get, server, files, tmp_path, monkeypatch):
    server.login = f"me:{PASSWORD}"
    for words in ([], ["--user", "me", "--password", "hunter3"]):
        code, text = get(*words)
        assert code == 2
        message = "expected the file, found 401 Unauthorized. Give the right --user and --password."
        assert f"{server.url}/a.bin: {message}" in text
    assert not any(path.is_file() for path in (tmp_path / "data").rglob("*"))
    assert get("--user", "me", "--password", PASSWORD)[0] == 0
    assert_complete(tmp_path, files)
    assert get("--user", "me")[0] == 2


def test_password_of_environment_and_netrc(get, server, files, tmp_path, monkeypatch):
    server.login = f"me:{PASSWORD}"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password " + PASSWORD)
    assert get()[0] == 0
    assert_complete(tmp_path, files)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me passwort " + PASSWORD)
    (tmp_path / "data" / "a.bin").unlink()
    code, text = get()
    assert code == 2
    assert "netrc" in text
    monkeypatch.setenv("VOXCELEB_USER", "me")
    monkeypatch.setenv("VOXCELEB_PASSWORD", PASSWORD)
    assert get()[0] == 0
    assert_complete(tmp_path, files)


def test_key(get, server, files, tmp_path):
    server.key = KEY
    _, text = get("--key", "wrong")
    assert f"{server.url}/get?file=a.bin&key=***: expected the file, found 403 Forbidden" in text
    assert get("--key", KEY)[0] == 0
    assert_complete(tmp_path, files)
    code, text = get("--key", KEY, "--base_url", server.url + "/x")
    # All files are complete, so no URL is needed.
    assert code == 0
    (tmp_path / "data" / "a.bin").unlink()
    code, text = get("--key", KEY, "--base_url", server.url + "/x")
    assert code == 2
    assert "expected a URL that contains {key}" in text


def test_password_goes_only_to_its_host(get, server, files, tmp_path):
    """The password goes neither to the host of a redirect nor to the host of another URL."""
    other_host = server.url.replace("127.0.0.1", "localhost")
    fields = {"a.bin": {}, "b.bin": {}, "c.txt": {"url": other_host + "/{name}"}}
    catalogue(tmp_path / "list.yaml", server, fields)
    server.moved = {"a.bin": other_host + "/c.txt", "b.bin": server.url + "/here/c.txt"}
    assert get("--user", "me", "--password", PASSWORD)[0] == 0
    # Each file is requested twice: once for its length.
    requests = Counter((name, bool(password)) for name, _, password, _ in server.requests)
    assert requests == {
        ("a.bin", True): 2,
        ("b.bin", True): 2,
        # The redirect of b.bin leads to the same host.
        ("c.txt", True): 2,
        # The redirect of a.bin leads to another host, and c.txt itself is on another host.
        ("c.txt", False): 4,
    }


def test_password_does_not_go_to_another_port(get, server, second_server, files, tmp_path):
    second_server.files = dict(server.files)
    server.moved = {name: f"{second_server.url}/{name}" for name in files}
    assert get("--user", "me", "--password", PASSWORD)[0] == 0
    assert {bool(password) for _, _, password, _ in server.requests} == {True}
    assert [password for _, _, password, _ in second_server.requests] == [None] * 2 * len(files)


@pytest.mark.parametrize(
    "old, new, same",
    [
        ("http://a/x", "http://a:80/y", True),
        ("http://a/x", "https://a/y", True),
        ("http://a:443/x", "https://a/y", False),
        ("https://a/x", "https://A:443/y", True),
        ("https://a/x", "https://a:444/y", False),
        ("https://a/x", "https://b/y", False),
    ],
)
def test_server_of_urls(old, new, same):
    assert (download.server_of(old) == download.server_of(new)) is same


@pytest.mark.parametrize("place", ["http://[::/x", "http://127.0.0.1:port/x", "http://a:99999/x"])
def test_redirects_to_nowhere(place, get, server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.moved = {"a.bin": place}
    code, text = get("--user", "me", "--password", PASSWORD)
    assert code == 2
    assert "a.bin: " in text and PASSWORD not in text


@pytest.mark.parametrize("length", ["abc", "9" * 5000, "\xb2", "1 2"], ids=range(4))
def test_lengths_that_are_no_numbers(length, get, server, files, tmp_path):
    server.ranges = False
    server.length = length
    assert get()[0] == 0
    assert_complete(tmp_path, files)


@pytest.mark.parametrize(
    "url", ["ftp://host/", "http://me:hunter2&pass@127.0.0.1/", "hunter2&pass"]
)
def test_unusable_urls(get, url):
    code, text = get("--base_url", url)
    assert code == 2
    assert "expected a URL http://HOST/" in text


def test_base_url(get, server, files, tmp_path):
    assert get("--base_url", "http://127.0.0.1:9/")[0] == 2
    assert get("--base_url", f"{server.url}/some/where/")[0] == 0
    assert_complete(tmp_path, files)


# ---------------------------------------------------------------------- hosts that misbehave
def test_missing_file_is_reported_before_the_first_byte(get, server, files, tmp_path):
    del server.files["c.txt"]
    code, text = get()
    assert code == 2
    assert "c.txt: expected the file, found 404 Not Found. The file is not at this" in text
    assert len(server.requests) <= 3
    assert not any(path.is_file() for path in (tmp_path / "data").rglob("*"))


def test_busy_and_broken(get, server, files, tmp_path, caplog):
    """A busy server is asked again, and a broken transfer resumes where it ended."""
    server.failures = {"a.bin": [503, 429, 500]}
    server.cuts = {"b.bin": [None, 4000, 0, 4000]}
    code, text = get()
    assert code == 0
    assert_complete(tmp_path, files)
    assert "warning: a.bin: 503 Service Unavailable. The next attempt starts in 0 s." in text
    assert [ranges for name, ranges, *_ in server.requests if name == "b.bin"] == [
        "bytes=0-",
        "bytes=0-",
        "bytes=4000-",
        "bytes=4000-",
        "bytes=8000-",
    ]


def test_gives_up_and_resumes_later(get, server, files, tmp_path):
    server.failures = {"a.bin": [503] * 100}
    code, text = get()
    assert code == 2
    assert "8 attempts to download failed (503 Service Unavailable). Run the same" in text
    server.failures = {}
    server.cuts = {"b.bin": [None, 4000] + [0] * 100}
    code, text = get()
    assert code == 2
    assert "1 of 3 downloads failed" in text
    assert "received 4,000 of 12,345 bytes" in text
    assert (tmp_path / "data" / "a.bin").exists()
    server.cuts = {}
    server.requests.clear()
    assert get()[0] == 0
    assert_complete(tmp_path, files)
    requests = [(name, ranges) for name, ranges, *_ in server.requests]
    assert requests == [("b.bin", "bytes=0-"), ("b.bin", "bytes=4000-")]


def test_waits_longer_every_time(get, server, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "FIRST_WAIT", 1)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waits.append))
    server.failures = {"a.bin": [503] * 7}
    assert get()[0] == 0
    assert waits == [1, 2, 4, 8, 16, 32, 60]


def test_server_without_ranges(get, server, files, tmp_path):
    server.ranges = False
    server.cuts = {"b.bin": [None, 4000]}
    assert get()[0] == 0
    assert_complete(tmp_path, files)


def test_kill_while_a_download_starts_again(get, server, files, tmp_path, monkeypatch):
    """The version of the new file is never stored with the beginning of the old file."""
    catalogue(tmp_path / "list.yaml", server, {"b.bin": {}})
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2
    assert (tmp_path / "data" / "b.bin.part").stat().st_size == 4000
    server.files["b.bin"] = random.Random(1).randbytes(12345)
    server.version = '"2"'

    def killed_after(path, data):
        path.write_bytes(data)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(download, "write_atomically", killed_after)
        assert get()[0] == 2
    assert get()[0] == 0
    assert (tmp_path / "data" / "b.bin").read_bytes() == server.files["b.bin"]


def test_server_without_versions(get, server, files, tmp_path):
    """Without a version and an MD5 sum the file could have changed: the download starts again."""
    catalogue(tmp_path / "list.yaml", server, {"b.bin": {}})
    server.version = ""
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"] = random.Random(1).randbytes(12345)
    assert get()[0] == 0
    assert (tmp_path / "data" / "b.bin").read_bytes() == server.files["b.bin"]


def test_file_that_changes_between_attempts(get, server, files, tmp_path):
    """Without an MD5 sum only the version shows the change: the download starts again."""
    catalogue(tmp_path / "list.yaml", server, {name: {} for name in files})
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"] = random.Random(1).randbytes(12345)
    server.version = '"2"'
    server.cuts = {"b.bin": [None, 3000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"] = random.Random(2).randbytes(12345)
    server.version = ""
    server.cuts = {}
    assert get()[0] == 0
    assert_complete(tmp_path, server.files)


def test_part_that_is_longer_than_the_file(get, server, files, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin.part").write_bytes(bytes(6000))
    assert get()[0] == 0
    assert_complete(tmp_path, files)


def test_web_page(get, server, files, tmp_path):
    server.kind = "text/html; charset=utf-8"
    code, text = get()
    assert code == 2
    assert "expected a file, found a web page. Give the right --user" in text
    assert not tree(tmp_path / "data")
    assert len(server.requests) <= 3


# ---------------------------------------------------------------------- sums, lines, disk
def test_wrong_sum(get, server, files, tmp_path):
    server.files = {**files, "a.bin": bytes(5000)}
    code, text = get()
    assert code == 2
    sums = f"expected the MD5 sum {md5(files['a.bin'])}, found {md5(bytes(5000))}."
    assert f"{sums} The downloaded file was removed." in text
    assert "1 of 3 downloads" in text
    assert sorted(tree(tmp_path / "data")) == ["MD5SUMS", "b.bin", "c.txt"]
    server.files = files
    assert get()[0] == 0
    assert_complete(tmp_path, files)


def test_file_without_a_sum_must_stay_as_it_was_downloaded_first(get, server, files, tmp_path):
    catalogue(tmp_path / "list.yaml", server, {"a.bin": {}})
    assert get()[0] == 0
    (tmp_path / "data" / "a.bin").unlink()
    server.files = {"a.bin": bytes(5000)}
    code, text = get()
    assert code == 2
    assert "The expected sum belongs to the first download" in text
    server.files = files
    assert get()[0] == 0


def test_files_from_elsewhere(get, server, files, tmp_path):
    """Files of the user are verified once and never removed or downloaded again."""
    (tmp_path / "data").mkdir()
    for name, data in files.items():
        (tmp_path / "data" / name).write_bytes(data)
    assert get()[0] == 0
    assert_complete(tmp_path, files)
    assert not server.requests
    (tmp_path / "data" / "MD5SUMS").unlink()
    (tmp_path / "data" / "a.bin").write_bytes(b"mine")
    code, text = get()
    assert code == 2
    assert "Move this file away" in text
    assert (tmp_path / "data" / "a.bin").read_bytes() == b"mine"


def test_number_of_lines_and_size(get, server, files, tmp_path):
    server.files["c.txt"] = b"1 a b\n0 a c\n"
    for field, message in (
        ("lines", "expected 3 lines, found 2"),
        ("size", "expected 3 bytes, found 12"),
    ):
        catalogue(tmp_path / "list.yaml", server, {"c.txt": {field: 3}})
        code, text = get()
        assert code == 2
        assert message in text
        assert not (tmp_path / "data" / "c.txt").exists()


def test_another_version_of_a_list(get, server, files, tmp_path):
    """The message names the list that has this number of lines."""
    server.files["clean.txt"] = b"1 a b\n0 a c\n0 b c\n"
    server.files["all.txt"] = server.files["clean.txt"]
    fields = {"clean.txt": {"lines": 2}, "all.txt": {"lines": 3}}
    catalogue(tmp_path / "list.yaml", server, fields)
    code, text = get()
    assert code == 2
    message = "expected 2 lines, found 3 lines as in all.txt: this is another version of the list."
    assert message in text
    assert not (tmp_path / "data" / "clean.txt").exists()


def test_full_disk(get, server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=17000))
    code, text = get()
    assert code == 2
    assert "GB of free disk space for 3 files" in text
    assert not tree(tmp_path / "data")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=17346))
    assert get()[0] == 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("files: {a/b: {}}", "without folders"),
        ("files: {a: {md5: 12}}", "md5: 12"),
        ("files: {a: {md6: x}}", "the unknown field 'md6: x'. Did you mean md5?"),
        ("files: {a: {wrong: x}}", "The fields are md5, sha256, size, lines, url,"),
        ("files: {a: {size: x}}", "expected a number of bytes, found 'size: x'"),
        ("files: {a: {only: x}}", "expected a list of patterns, found 'only: x'"),
        ("files: [a]", "expected YAML"),
        ("files: {a: {parts: b*}}", "found no file"),
        ("files: {a: {parts: a*}}", "not the file itself"),
        ("files: {a: 3}", "expected 'name"),
        ("[", "expected YAML"),
        ("files: {a: {}}\ncounts: {x: y}", "expected YAML"),
    ],
)
def test_bad_file_lists(text, message, tmp_path, capsys):
    file_list = tmp_path / "bad.yaml"
    file_list.write_text(f"base_url: http://host\n{text}\n" if text != "[" else text)
    assert run("--download", "--save_path", tmp_path / "data", "--file_list", file_list) == 2
    errors = capsys.readouterr().err
    assert f"error: {tmp_path}/bad.yaml" in errors
    assert message in errors
    assert not (tmp_path / "data").exists()


FILE_LISTS = sorted(set(CATALOGUES.glob("*.yaml")) - {CATALOGUES / "checkpoints.yaml"})


@pytest.mark.parametrize("path", FILE_LISTS, ids=lambda path: path.name)
def test_published_file_lists(path):
    found = sources.read_catalogue(path)
    for source in found.sources:
        if not source.parts:
            access = Access(user="me", password="x")
            job = download.job_of(source, path.parent, found, access)
            assert source.name in job.url
            assert not {"{", "}"} & set(job.url)
        assert source.md5 or path.name != "augment.yaml"
    if path.name == "voxceleb.yaml":
        assert len(found.sources) == 23
        assert [len(source.parts) for source in found.sources if source.parts] == [4, 8]
        assert "key=K" in download.job_of(found.sources[0], path.parent, found, Access(key="K")).url


# ---------------------------------------------------------------------- kills
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sums", [True, False])
def test_killed_at_random_points(seed, sums, server, files, tmp_path):
    fields = {}
    for name, data in files.items():
        fields[name] = {"md5": md5(data)} if sums else {}
    file_list = catalogue(tmp_path / "list.yaml", server, fields)
    words = ["--download", "--save_path", tmp_path / "data", "--file_list", file_list]
    words += ["--connections", 2]
    assert kill_until_done(words, seed, 25) > 0
    assert_complete(tmp_path, files)
    server.requests.clear()
    assert run(*words) == 0
    assert not server.requests


def test_no_byte_on_the_disk_is_lost(server, files, tmp_path):
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    request = Request(tmp_path / "data", tmp_path / "list.yaml")
    with pytest.raises(InputError):
        obtain.download_all(sources.read_catalogue(request.file_list), request)
    server.cuts = {}
    obtain.download_all(sources.read_catalogue(request.file_list), request)
    assert server.requests[-1][:2] == ("b.bin", "bytes=4000-")
