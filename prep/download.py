"""Downloads: several at once, each goes on where it was interrupted and gets its name when its MD5 sum is right.

urllib and not requests: ranges, passwords, redirects and proxies are all that is needed, and nothing has to be installed.
"""

import base64
import http.client
import logging
import netrc
import os
import re
import time
import urllib.error
import urllib.request
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from tqdm import tqdm

from common.errors import InputError
from common.writing import write_atomically
from prep.output import check_space
from prep.sources import CHUNK, is_there, verify

log = logging.getLogger(__name__)
# seconds without a byte
TIMEOUT = 60
# in a row that bring nothing
ATTEMPTS = 8
# seconds between them, doubled each time
FIRST_WAIT, LONGEST_WAIT = 1, 60
# what goes wrong between here and the server
NETWORK = (http.client.HTTPException, OSError)
REMEDIES = {
    401: "give the right --user and --password",
    403: "give the right --user and --password, or a --key that is still valid",
    404: "the file has moved: correct --base_url or the file list",
}


class Access(NamedTuple):
    """base_url: in the place of the catalogue's. The rest is secret: it stands in requests and nowhere else."""

    base_url: str | None = None
    user: str | None = None
    password: str | None = None
    key: str | None = None


class Broken(Exception):
    """What may go well the next time."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """The password goes on to the same host alone, and never from https to http."""

    def redirect_request(self, request, *rest):
        new = super().redirect_request(request, *rest)
        old, now = urlsplit(request.full_url), urlsplit(new.full_url)
        if (
            "Authorization" in request.unredirected_hdrs
            and old.hostname == now.hostname
            and now.scheme in ("https", old.scheme)
        ):
            new.add_unredirected_header("Authorization", request.unredirected_hdrs["Authorization"])
        return new


opener = urllib.request.build_opener(Redirects)


# ---------------------------------------------------------------------- who asks for what
def template_of(source, catalogue, access):
    """URL of a file with {name}, {folder} and {key} to be filled in."""
    template = (
        source.url or access.base_url or (access.key and catalogue.key_url) or catalogue.base_url
    )
    if not re.match(r"https?://[^/@\s]+(/|$)", template):
        raise InputError(
            f"{source.name}: want a URL http://HOST/... or https://HOST/..., without a password in it; correct --base_url or the file list"
        )
    if access.key and not source.url and "{key}" not in template:
        raise InputError(
            f"--key: want a URL with {{key}} in it, got {template}; correct --base_url or the file list"
        )
    return template if "{name}" in template else f"{template.rstrip('/')}/{{name}}"


def filled(template, source, key):
    return (
        template.replace("{name}", quote(source.name))
        .replace("{folder}", source.folder)
        .replace("{key}", quote(key or "", safe=""))
    )


def authorization(source, url, access):
    """Header of basic authentication: --user and --password for the host of the archives, ~/.netrc for any -> its value, or None."""
    user, password = access.user, access.password
    if source.url or not user:
        try:
            user, _, password = netrc.netrc(os.environ.get("NETRC")).authenticators(
                urlsplit(url).hostname
            ) or (None, None, None)
        except OSError:
            return None
        except netrc.NetrcParseError as error:
            raise InputError(
                f"~/.netrc: cannot be used (line {error.lineno}); correct it, and let nobody else read it (chmod 600)"
            ) from None
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else None


class Job(NamedTuple):
    """shown: the URL without what is secret."""

    source: object
    url: str
    shown: str
    authorization: str | None
    part: Path
    folder: Path

    @property
    def version(self):
        """What the server calls the file that `part` is the beginning of."""
        return Path(f"{self.part}.version")


def job_of(source, folder, catalogue, access):
    template = template_of(source, catalogue, access)
    url = filled(template, source, access.key)
    return Job(
        source,
        url,
        filled(template.replace("{key}", "***"), source, None),
        authorization(source, url, access),
        folder / f"{source.name}.part",
        folder,
    )


# ---------------------------------------------------------------------- requests
def broken(error):
    """What went wrong on the way -> Broken. It repeats nothing that the server or the URL says, which could hold the password or the key."""
    reason = getattr(error, "reason", error)
    return Broken(getattr(reason, "strerror", None) or type(reason).__name__)


def respond(job, start, version=None):
    """Asks for the file from byte `start` on -> the response. InputError for answers that will not change."""
    request = urllib.request.Request(
        job.url,
        headers={
            "User-Agent": "dataprep",
            "Range": f"bytes={start}-",
            **({"If-Range": version} if version else {}),
        },
    )
    if job.authorization:
        request.add_unredirected_header("Authorization", job.authorization)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        code, phrase = error.code, http.client.responses.get(error.code, "")
    except NETWORK as error:
        raise broken(error) from None
    # the file is shorter than what there is of it
    if code == 416:
        job.part.unlink(missing_ok=True)
    if code >= 500 or code in (408, 416, 429):
        raise Broken(f"{code} {phrase}")
    raise InputError(
        f"{job.shown}: want the file, got {code} {phrase}; {REMEDIES.get(code, 'correct --base_url or the file list')}"
    )


def length_of(response):
    """Bytes of the whole file, None if the server does not tell."""
    found = (
        re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        if response.status == 206
        else None
    )
    length = (
        found[1]
        if found
        else response.headers.get("Content-Length")
        if response.status == 200
        else None
    )
    return length and int(length)


def check_kind(job, response):
    """Hosts answer wrong keys with a page that says so, and 200."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"{job.shown}: want a file, got a web page; {REMEDIES[403]}, or correct --base_url"
        )


def retried(job, work):
    """work() until it is not Broken; gives up after ATTEMPTS that add nothing to the file."""
    failures = 0
    while True:
        before = size_of(job.part)
        try:
            return work()
        except Broken as error:
            failures = 1 if size_of(job.part) > before else failures + 1
            if failures == ATTEMPTS:
                raise InputError(
                    f"{job.shown}: cannot be reached: {error}, {ATTEMPTS} times; the same command later goes on from here"
                ) from None
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
            log.warning("%s: %s; again in %d s", job.source.name, error, pause)
            time.sleep(pause)


def size_of(path):
    return path.stat().st_size if path.exists() else 0


# ---------------------------------------------------------------------- files
def probe(job):
    """The length of the file, as the server says, before anything is fetched -> (job, length or None)."""

    def ask():
        with respond(job, 0) as response:
            check_kind(job, response)
            return length_of(response)

    return job, retried(job, ask) or job.source.size


def transfer(job, bar):
    """One attempt to get what is missing of the part."""
    version = job.version.read_text() if job.version.exists() else None
    # otherwise nothing would tell that it is another file by now
    start = size_of(job.part) if version or job.source.md5 else 0
    with respond(job, start, version if start else None) as response:
        check_kind(job, response)
        if response.status != 206:
            # a server without ranges, or with another file now
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Broken(f"another part of the file came than bytes {start}-")
        if not start:
            bar.update(-size_of(job.part))
            job.part.unlink(missing_ok=True)
            name = response.headers.get("ETag", "W/")
            write_atomically(
                job.version,
                (
                    response.headers.get("Last-Modified", "") if name.startswith("W/") else name
                ).encode(),
            )
        with job.part.open("ab" if start else "wb") as file:
            while True:
                try:
                    # what has come: as little as can be is lost by a kill
                    chunk = response.read1(CHUNK)
                except NETWORK as error:
                    raise broken(error) from None
                if not chunk:
                    break
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        whole = length_of(response)
        if whole is not None and size_of(job.part) != whole:
            raise Broken(f"{size_of(job.part):,} of {whole:,} bytes came")


def fetch(bar, job_and_length):
    """Gets one file -> complaint, or None."""
    job, length = job_and_length
    try:
        if length is None or size_of(job.part) != length:
            retried(job, partial(transfer, job, bar))
        try:
            verify(job.part, job.source, job.folder)
        except InputError as error:
            job.part.unlink()
            job.version.unlink(missing_ok=True)
            raise InputError(
                f"{error}; it is removed: try again, and if that does not help correct the file list"
            ) from None
        job.part.replace(job.folder / job.source.name)
        job.version.unlink(missing_ok=True)
    except InputError as error:
        return str(error)


def download(sources, folder, catalogue, access, connections=4):
    """Gets those of the sources that are not there yet. Whatever the server says no to, and too little disk, is an InputError before the first byte."""
    jobs = [
        job_of(source, folder, catalogue, access)
        for source in sources
        if not is_there(source, folder)
    ]
    if not jobs:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # its threads do not outlive Ctrl-C
    with ThreadPool(connections) as pool:
        jobs = list(pool.imap(probe, jobs))
        there = sum(size_of(job.part) for job, _ in jobs)
        total = sum(length or 0 for _, length in jobs)
        check_space(folder, total - there, f"{len(jobs)} files")
        with tqdm(
            total=total, initial=there, unit="B", unit_scale=True, desc="download", disable=None
        ) as bar:
            failed = list(filter(None, pool.imap_unordered(partial(fetch, bar), jobs)))
    log.info(
        "%s: %d of %d files downloaded and verified", folder, len(jobs) - len(failed), len(jobs)
    )
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} files are missing: {'; '.join(failed)}")
