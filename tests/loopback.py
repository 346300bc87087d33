"""Helpers for tests of dataprep.py: a server on loopback that can misbehave, and killed runs.

The program runs in the process of the test, or in a child process that is killed on its way.
"""

import base64
import contextlib
import os
import random
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import tqdm
import yaml

import dataprep


# ---------------------------------------------------------------------- server
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def refuse(self, code, **headers):
        # The reason repeats the password, so that tests find it if the program prints the reason.
        self.send_response(code, "no, " + self.headers.get("Authorization", "") + self.path)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def refusal(self, name, key):
        """Returns the code and the headers of a refusal, or None if the file may be sent."""
        host = self.server
        login = "Basic " + base64.b64encode(host.login.encode()).decode()
        if host.login and self.headers.get("Authorization") != login:
            return 401, {}
        if host.key and key != [host.key]:
            return 403, {}
        if host.failures.get(name):
            return host.failures[name].pop(0), {}
        if name in host.moved:
            return 302, {"Location": host.moved[name]}
        if name not in host.files:
            return 404, {}
        return None

    def do_GET(self):
        host = self.server
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        name = query.get("file", [url.path.rsplit("/", 1)[-1]])[0]
        wanted = self.headers.get("Range", "")
        version = self.headers.get("If-Range")
        host.requests.append((name, wanted, self.headers.get("Authorization"), version))
        refusal = self.refusal(name, query.get("key"))
        if refusal:
            code, headers = refusal
            self.refuse(code, **headers)
            return
        data = host.files[name]
        same_version = version is None or version == host.version
        start = 0
        if wanted and host.ranges and same_version:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.refuse(416)
                return
        self.send_response(206 if wanted and host.ranges and same_version else 200)
        if host.ranges and same_version:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", host.length or str(len(data) - start))
        self.send_header("Content-Type", host.kind)
        if host.version:
            self.send_header("ETag", host.version)
        self.end_headers()
        # Number of bytes after which the connection ends.
        cut = host.cuts[name].pop(0) if host.cuts.get(name) else None
        with contextlib.suppress(OSError):
            self.wfile.write(data[start:] if cut is None else data[start : start + cut])


class Server(ThreadingHTTPServer):
    """A server of files.

    files: name -> contents.
    requests: name, range, authorization and version of every request.
    failures: name -> codes that the next requests get.
    moved: name -> URL of a redirect.
    cuts: name -> numbers of bytes after which the next responses end, None for no cut.
    login, key: what requests must have, "" for nothing.
    ranges: whether the server supports ranges.
    version: the entity tag of all files, "" for none.
    kind: the content type of all files.
    length: the number of bytes that the headers state for all files, "" for the right number.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.requests = []
        self.failures = {}
        self.moved = {}
        self.cuts = {}
        self.login = ""
        self.key = ""
        self.ranges = True
        self.version = '"1"'
        self.kind = "application/octet-stream"
        self.length = ""
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """Prints nothing: clients close the connection when they know the length of a file."""


def serving():
    """Yields a running server, and stops it."""
    host = Server()
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    host.shutdown()
    host.server_close()
    thread.join()


@pytest.fixture
def server():
    yield from serving()


def catalogue(path, server, files, **more):
    """Writes a file list with these files, {name: fields}. Returns its path."""
    table = {
        "base_url": server.url + "/{name}",
        "key_url": server.url + "/get?file={name}&key={key}",
        "files": files,
        **more,
    }
    path.write_text(yaml.safe_dump(table))
    return path


# ---------------------------------------------------------------------- runs
def run(*words):
    """Runs dataprep.py in this process. Returns its exit code."""
    return dataprep.main([str(word) for word in words])


def killed(words, point):
    """Runs dataprep.py in a child process, which gets SIGKILL at step number `point`.

    A step is an update of a progress bar or a renamed file. The first step has number 1. Returns
    whether the run was killed before its end.
    """
    child = os.fork()
    if not child:
        lock = threading.Lock()
        steps = [0]
        update = tqdm.tqdm.update

        def step():
            with lock:
                steps[0] += 1
                if steps[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)

        def counted_update(bar, n=1):
            step()
            return update(bar, n)

        def on_event(event, _):
            if event == "os.rename":
                step()

        tqdm.tqdm.update = counted_update
        sys.addaudithook(on_event)
        code = 1
        try:
            code = run(*words)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kill_until_done(words, seed, furthest):
    """Kills the program at random steps and runs it again until it ends by itself.

    Returns the number of kills.
    """
    draw = random.Random(seed)
    kills = 0
    while killed(words, draw.randint(1, furthest)):
        kills += 1
        assert kills < 200
    return kills


def tree(folder):
    """Returns {path: contents} of all files below a folder."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files
