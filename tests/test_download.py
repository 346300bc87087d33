"""Downloads of dataprep.py against a server on loopback: passwords and keys, resumption, hosts that misbehave, sums, secrets, kills."""

import hashlib
import random
from types import SimpleNamespace

import pytest
from loopback import catalogue, kill_until_done, run, tree

from common.errors import InputError
from prep import download, obtain, output, sources
from prep.constants import CATALOGUES
from prep.download import Access
from prep.obtain import Request

SECRETS = "hunter2&pass", "k/e+y", "k%2Fe%2By"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "FIRST_WAIT", 0)
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("USER", "PASSWORD", "KEY"):
        monkeypatch.delenv(f"VOXCELEB_{name}", raising=False)


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def files(server, tmp_path):
    """Three files of the server, in a list with their sums."""
    server.files = {
        name: random.Random(name).randbytes(size)
        for name, size in (("a.bin", 5000), ("b.bin", 12345), ("c.txt", 1))
    }
    catalogue(
        tmp_path / "list.yaml",
        server,
        {name: {"md5": md5(data)} for name, data in server.files.items()},
    )
    return server.files


@pytest.fixture
def get(tmp_path, server, files, capsys):
    """get(*words) -> (exit code, what it said), nothing secret in it."""

    def call(*words):
        capsys.readouterr()
        code = run(
            "--save_path",
            tmp_path / "data",
            "--download",
            "--file_list",
            tmp_path / "list.yaml",
            *words,
        )
        said = "".join(capsys.readouterr())
        for secret in SECRETS:
            assert secret not in said
            assert not any(secret.encode() in data for data in tree(tmp_path / "data").values())
        return code, said

    return call


def whole(tmp_path, files):
    """All files are there with what the server has, their sums, and nothing else."""
    found = tree(tmp_path / "data")
    sums = found.pop("MD5SUMS").decode()
    assert found == files and sums == "".join(
        f"{md5(data)}  {name}\n" for name, data in sorted(files.items())
    )
    return True


# ---------------------------------------------------------------------- who may
def test_downloads_once(get, server, files, tmp_path):
    assert get()[0] == 0 and whole(tmp_path, files)
    server.requests.clear()
    assert get()[0] == 0 and not server.requests


def test_password(get, server, files, tmp_path, monkeypatch):
    server.login = f"me:{SECRETS[0]}"
    for words in ([], ["--user", "me", "--password", "hunter3"]):
        code, said = get(*words)
        assert (
            code == 2
            and f"{server.url}/a.bin: want the file, got 401 Unauthorized; give the right --user and --password"
            in said
        )
    assert not any(path.is_file() for path in (tmp_path / "data").rglob("*"))
    assert get("--user", "me", "--password", SECRETS[0])[0] == 0 and whole(tmp_path, files)
    assert get("--user", "me")[0] == 2


def test_password_of_environment_and_netrc(get, server, files, tmp_path, monkeypatch):
    server.login = f"me:{SECRETS[0]}"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password " + SECRETS[0])
    assert get()[0] == 0 and whole(tmp_path, files)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me passwort " + SECRETS[0])
    (tmp_path / "data" / "a.bin").unlink()
    code, said = get()
    assert code == 2 and "netrc" in said
    monkeypatch.setenv("VOXCELEB_USER", "me")
    monkeypatch.setenv("VOXCELEB_PASSWORD", SECRETS[0])
    assert get()[0] == 0 and whole(tmp_path, files)


def test_key(get, server, files, tmp_path):
    server.key = SECRETS[1]
    assert (
        f"{server.url}/get?file=a.bin&key=***: want the file, got 403 Forbidden"
        in get("--key", "wrong")[1]
    )
    assert get("--key", SECRETS[1])[0] == 0 and whole(tmp_path, files)
    code, said = get("--key", SECRETS[1], "--base_url", server.url + "/x")
    # all is there, nobody is asked
    assert code == 0
    (tmp_path / "data" / "a.bin").unlink()
    code, said = get("--key", SECRETS[1], "--base_url", server.url + "/x")
    assert code == 2 and "want a URL with {key} in it" in said


def test_password_goes_to_its_host_alone(get, server, files, tmp_path):
    """Neither after a redirect, nor to the hosts of lists."""
    catalogue(
        tmp_path / "list.yaml",
        server,
        {
            "a.bin": {},
            "b.bin": {},
            "c.txt": {"url": server.url.replace("127.0.0.1", "localhost") + "/{name}"},
        },
    )
    server.moved = {
        "a.bin": server.url.replace("127.0.0.1", "localhost") + "/c.txt",
        "b.bin": server.url + "/here/c.txt",
    }
    assert get("--user", "me", "--password", SECRETS[0])[0] == 0
    asked = [(name, bool(authorization)) for name, _, authorization, _ in server.requests]
    assert (
        asked.count(("a.bin", True)) == asked.count(("b.bin", True)) == 2
        and ("a.bin", False) not in asked
        and ("b.bin", False) not in asked
    )
    # of b.bin, on the same host; of a.bin and of itself
    assert asked.count(("c.txt", True)) == 2 and asked.count(("c.txt", False)) == 4


@pytest.mark.parametrize(
    "url", ["ftp://host/", "http://me:hunter2&pass@127.0.0.1/", "hunter2&pass"]
)
def test_unusable_urls(get, url):
    code, said = get("--base_url", url)
    assert code == 2 and "want a URL http://HOST/" in said


def test_base_url(get, server, files, tmp_path):
    assert get("--base_url", "http://127.0.0.1:9/")[0] == 2
    assert get("--base_url", f"{server.url}/some/where/")[0] == 0 and whole(tmp_path, files)


# ---------------------------------------------------------------------- hosts that misbehave
def test_missing_file_is_told_before_the_first_byte(get, server, files, tmp_path):
    del server.files["c.txt"]
    code, said = get()
    assert (
        code == 2
        and "c.txt: want the file, got 404 Not Found; the file has moved" in said
        and len(server.requests) <= 3
    )
    assert not any(path.is_file() for path in (tmp_path / "data").rglob("*"))


def test_busy_and_broken(get, server, files, tmp_path, caplog):
    """503 and 429, then success; transfers that end early go on where they ended."""
    server.failures = {"a.bin": [503, 429, 500]}
    server.cuts = {"b.bin": [None, 4000, 0, 4000]}
    code, said = get()
    assert (
        code == 0
        and whole(tmp_path, files)
        and "a.bin: 503 Service Unavailable; again in 0 s" in said
    )
    assert [wanted for name, wanted, *_ in server.requests if name == "b.bin"] == [
        "bytes=0-",
        "bytes=0-",
        "bytes=4000-",
        "bytes=4000-",
        "bytes=8000-",
    ]


def test_gives_up_and_goes_on_later(get, server, files, tmp_path):
    server.failures = {"a.bin": [503] * 100}
    code, said = get()
    assert code == 2 and "cannot be reached: 503 Service Unavailable, 8 times" in said
    server.failures = {}
    server.cuts = {"b.bin": [None, 4000] + [0] * 100}
    code, said = get()
    assert (
        code == 2
        and "1 of 3 files are missing" in said
        and "4,000 of 12,345 bytes came" in said
        and (tmp_path / "data" / "a.bin").exists()
    )
    server.cuts = {}
    server.requests.clear()
    assert get()[0] == 0 and whole(tmp_path, files)
    assert [r[:2] for r in server.requests] == [("b.bin", "bytes=0-"), ("b.bin", "bytes=4000-")]


def test_waits_longer_every_time(get, server, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "FIRST_WAIT", 1)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waits.append))
    server.failures = {"a.bin": [503] * 7}
    assert get()[0] == 0 and waits == [1, 2, 4, 8, 16, 32, 60]


def test_server_without_ranges(get, server, files, tmp_path):
    server.ranges = False
    server.cuts = {"b.bin": [None, 4000]}
    assert get()[0] == 0 and whole(tmp_path, files)


def test_kill_while_a_file_is_begun_again(get, server, files, tmp_path, monkeypatch):
    """The word for the new file is never beside the beginning of the old one."""
    catalogue(tmp_path / "list.yaml", server, {"b.bin": {}})
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2 and (tmp_path / "data" / "b.bin.part").stat().st_size == 4000
    server.files["b.bin"], server.version = random.Random(1).randbytes(12345), '"2"'

    def killed_after(path, data):
        path.write_bytes(data)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(download, "write_atomically", killed_after)
        assert get()[0] == 2
    assert get()[0] == 0 and (tmp_path / "data" / "b.bin").read_bytes() == server.files["b.bin"]


def test_server_that_does_not_tell_versions(get, server, files, tmp_path):
    """Without a sum too nothing tells whether it is still the same file: it is begun again."""
    catalogue(tmp_path / "list.yaml", server, {"b.bin": {}})
    server.version, server.cuts = "", {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"] = random.Random(1).randbytes(12345)
    assert get()[0] == 0 and (tmp_path / "data" / "b.bin").read_bytes() == server.files["b.bin"]


def test_file_that_changes_meanwhile(get, server, files, tmp_path):
    """Without a sum only the server's word tells: it is begun again."""
    catalogue(tmp_path / "list.yaml", server, {name: {} for name in files})
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"], server.version = random.Random(1).randbytes(12345), '"2"'
    server.cuts = {"b.bin": [None, 3000] + [0] * 7}
    assert get()[0] == 2
    server.files["b.bin"], server.version = random.Random(2).randbytes(12345), ""
    server.cuts = {}
    assert get()[0] == 0 and whole(tmp_path, server.files)


def test_part_that_is_longer_than_the_file(get, server, files, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin.part").write_bytes(bytes(6000))
    assert get()[0] == 0 and whole(tmp_path, files)


def test_web_page(get, server, files, tmp_path):
    server.kind = "text/html; charset=utf-8"
    code, said = get()
    assert (
        code == 2
        and "want a file, got a web page; give the right --user" in said
        and not tree(tmp_path / "data")
        and len(server.requests) <= 3
    )


# ---------------------------------------------------------------------- sums, lines, disk
def test_wrong_sum(get, server, files, tmp_path):
    server.files = {**files, "a.bin": bytes(5000)}
    code, said = get()
    assert (
        code == 2
        and f"want MD5 {md5(files['a.bin'])}, got {md5(bytes(5000))}; it is removed" in said
        and "1 of 3 files" in said
    )
    assert sorted(tree(tmp_path / "data")) == ["MD5SUMS", "b.bin", "c.txt"]
    server.files = files
    assert get()[0] == 0 and whole(tmp_path, files)


def test_unknown_sum_is_that_of_the_first_download(get, server, files, tmp_path):
    catalogue(tmp_path / "list.yaml", server, {"a.bin": {}})
    assert get()[0] == 0
    (tmp_path / "data" / "a.bin").unlink()
    server.files = {"a.bin": bytes(5000)}
    code, said = get()
    assert code == 2 and "that of the first download" in said
    server.files = files
    assert get()[0] == 0


def test_files_from_elsewhere(get, server, files, tmp_path):
    """What the user put there is looked at once, never removed, and downloaded only if it is not there."""
    (tmp_path / "data").mkdir()
    for name, data in files.items():
        (tmp_path / "data" / name).write_bytes(data)
    assert get()[0] == 0 and whole(tmp_path, files) and not server.requests
    (tmp_path / "data" / "MD5SUMS").unlink()
    (tmp_path / "data" / "a.bin").write_bytes(b"mine")
    code, said = get()
    assert (
        code == 2
        and "move it away" in said
        and (tmp_path / "data" / "a.bin").read_bytes() == b"mine"
    )


def test_number_of_lines_and_size(get, server, files, tmp_path):
    server.files["c.txt"] = b"1 a b\n0 a c\n"
    for field, wanted in (("lines", "want 3 lines, got 2"), ("size", "want 3 bytes, got 12")):
        catalogue(tmp_path / "list.yaml", server, {"c.txt": {field: 3}})
        code, said = get()
        assert code == 2 and wanted in said and not (tmp_path / "data" / "c.txt").exists()


def test_full_disk(get, server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=17000))
    code, said = get()
    assert code == 2 and "GB of free disk for 3 files" in said and not tree(tmp_path / "data")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: SimpleNamespace(free=17346))
    assert get()[0] == 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("files: {a/b: {}}", "without folders"),
        ("files: {a: {md5: 12}}", "md5: 12"),
        ("files: {a: {md6: x}}", "md6: x"),
        ("files: [a]", "want YAML"),
        ("files: {a: {parts: b*}}", "got none"),
        ("files: {a: {parts: a*}}", "not itself"),
        ("files: {a: 3}", "want 'name"),
        ("[", "want YAML"),
        ("files: {a: {}}\ncounts: {x: y}", "want YAML"),
    ],
)
def test_bad_file_lists(text, message, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(f"base_url: http://host\n{text}\n" if text != "[" else text)
    assert (
        run("--download", "--save_path", tmp_path / "data", "--file_list", tmp_path / "bad.yaml")
        == 2
    )
    assert (
        f"error: {tmp_path}/bad.yaml" in (err := capsys.readouterr().err)
        and message in err
        and not (tmp_path / "data").exists()
    )


@pytest.mark.parametrize("path", sorted(CATALOGUES.glob("*.yaml")), ids=lambda path: path.name)
def test_file_lists_of_ours(path):
    found = sources.read_catalogue(path)
    for source in found.sources:
        job = (
            download.job_of(source, path.parent, found, Access(user="me", password="x"))
            if not source.parts
            else None
        )
        assert (job is None or source.name in job.url and not {"{", "}"} & set(job.url)) and (
            source.md5 or path.name != "augment.yaml"
        )
    if path.name == "voxceleb.yaml":
        assert len(found.sources) == 23 and [
            len(source.parts) for source in found.sources if source.parts
        ] == [4, 8]
        assert "key=K" in download.job_of(found.sources[0], path.parent, found, Access(key="K")).url


# ---------------------------------------------------------------------- kills
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sums", [True, False])
def test_killed_at_random_points(seed, sums, server, files, tmp_path):
    catalogue(
        tmp_path / "list.yaml",
        server,
        {name: {"md5": md5(data)} if sums else {} for name, data in files.items()},
    )
    words = [
        "--save_path",
        tmp_path / "data",
        "--download",
        "--file_list",
        tmp_path / "list.yaml",
        "--connections",
        2,
    ]
    assert kill_until_done(words, seed, 25) > 0 and whole(tmp_path, files)
    server.requests.clear()
    assert run(*words) == 0 and not server.requests


def test_kill_loses_no_byte_that_is_on_disk(server, files, tmp_path):
    server.cuts = {"b.bin": [None, 4000] + [0] * 7}
    request = Request(tmp_path / "data", tmp_path / "list.yaml")
    with pytest.raises(InputError):
        obtain.download_all(sources.read_catalogue(request.file_list), request)
    server.cuts = {}
    obtain.download_all(sources.read_catalogue(request.file_list), request)
    assert server.requests[-1][:2] == ("b.bin", "bytes=4000-")
