"""A server of files on loopback that misbehaves as told, dataprep.py in this process, and in one that is killed on its way."""

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


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def refuse(self, code, **headers):
        # the phrase repeats what is secret
        self.send_response(code, "no, " + self.headers.get("Authorization", "") + self.path)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        host, query = self.server, parse_qs(urlsplit(self.path).query)
        name = query.get("file", [urlsplit(self.path).path.rsplit("/", 1)[-1]])[0]
        wanted = self.headers.get("Range", "")
        host.requests.append(
            (name, wanted, self.headers.get("Authorization"), self.headers.get("If-Range"))
        )
        if (
            host.login
            and self.headers.get("Authorization")
            != "Basic " + base64.b64encode(host.login.encode()).decode()
        ):
            return self.refuse(401)
        if host.key and query.get("key") != [host.key]:
            return self.refuse(403)
        if host.failures.get(name):
            return self.refuse(host.failures[name].pop(0))
        if name in host.moved:
            return self.refuse(302, Location=host.moved[name])
        if name not in host.files:
            return self.refuse(404)
        data, start = host.files[name], 0
        if wanted and host.ranges and self.headers.get("If-Range", host.version) == host.version:
            start = int(wanted[6:-1])
            if start >= len(data):
                return self.refuse(416)
        self.send_response(
            206
            if wanted and host.ranges and self.headers.get("If-Range", host.version) == host.version
            else 200
        )
        if host.ranges and self.headers.get("If-Range", host.version) == host.version:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Type", host.kind)
        if host.version:
            self.send_header("ETag", host.version)
        self.end_headers()
        # bytes after which the connection ends
        cut = host.cuts[name].pop(0) if host.cuts.get(name) else None
        with contextlib.suppress(OSError):
            self.wfile.write(data[start:] if cut is None else data[start : start + cut])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.failures, self.moved, self.cuts, self.requests = {}, {}, {}, {}, []
        self.login, self.key, self.ranges, self.version, self.kind = (
            "",
            "",
            True,
            '"1"',
            "application/octet-stream",
        )
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """Clients hang up when they know the length."""


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def catalogue(path, server, files, **more):
    """Writes a file list with these files, {name: fields} -> its path."""
    path.write_text(
        yaml.safe_dump(
            {
                "base_url": server.url + "/{name}",
                "key_url": server.url + "/get?file={name}&key={key}",
                "files": files,
                **more,
            }
        )
    )
    return path


def run(*words):
    return dataprep.main([str(word) for word in words])


def killed(words, point):
    """run(*words) in a child that gets SIGKILL at the point-th step of a progress bar, or renaming of a file, counted from 1 -> whether it came so far."""
    child = os.fork()
    if not child:
        lock, passed, update = threading.Lock(), [0], tqdm.tqdm.update

        def step(*_):
            with lock:
                passed[0] += 1
                if passed[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)

        def counted(bar, n=1):
            step()
            return update(bar, n)

        tqdm.tqdm.update = counted
        sys.addaudithook(lambda event, _: step() if event == "os.rename" else None)
        code = 1
        try:
            code = run(*words)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kill_until_done(words, seed, furthest):
    """Kills and runs again until it comes to its end -> number of kills."""
    draw, kills = random.Random(seed), 0
    while killed(words, draw.randint(1, furthest)):
        kills += 1
        assert kills < 200
    return kills


def tree(folder):
    """{path: contents} of all files, less the notes that tell where they come from."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
