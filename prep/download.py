"""Downloads: several at once, each resumes where it was interrupted.

A file gets its name when its MD5 sum is right. The module uses urllib and not requests: it needs
only ranges, passwords, redirects and proxies, and nothing has to be installed.
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
from collections.abc import Callable
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tqdm import tqdm

from common.errors import InputError
from common.writing import write_atomically
from prep.output import check_space
from prep.sources import CHUNK, Catalogue, Source, bytes_bar, is_there, verify

log = logging.getLogger(__name__)
# Seconds without a byte after which a connection has failed.
TIMEOUT = 60
# Number of failed attempts in a row, without any new byte, after which a download gives up.
ATTEMPTS = 8
# Seconds between two attempts. They double with every failure in a row.
FIRST_WAIT = 1
LONGEST_WAIT = 60
# Exceptions of a broken connection.
NETWORK = (http.client.HTTPException, OSError)
REMEDIES = {
    401: "give the right --user and --password",
    403: "give the right --user and --password, or a --key that is still valid",
    404: "the file has moved: correct --base_url or the file list",
}


class Access(NamedTuple):
    """How to reach a host.

    base_url: replaces the URL of the catalogue.
    user, password, key: secrets. They appear only in requests, never in messages or files.
    """

    base_url: str | None = None
    user: str | None = None
    password: str | None = None
    key: str | None = None


class TemporaryError(Exception):
    """A failure that may not happen again at the next attempt."""


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects. The password goes only to the same host, and never from https to http."""

    def redirect_request(
        self, request: urllib.request.Request, *rest: Any
    ) -> urllib.request.Request | None:
        new_request = super().redirect_request(request, *rest)
        old_url = urlsplit(request.full_url)
        new_url = urlsplit(new_request.full_url)
        same_host = old_url.hostname == new_url.hostname
        safe_scheme = new_url.scheme in ("https", old_url.scheme)
        if "Authorization" in request.unredirected_hdrs and same_host and safe_scheme:
            password = request.unredirected_hdrs["Authorization"]
            new_request.add_unredirected_header("Authorization", password)
        return new_request


opener = urllib.request.build_opener(SafeRedirects)


# ---------------------------------------------------------------------- URLs and passwords
def template_of(source: Source, catalogue: Catalogue, access: Access) -> str:
    """Returns the URL of a file with the placeholders {name}, {folder} and {key}.

    Raises InputError for an invalid URL, and for a URL without {key} when there is a key.
    """
    key_url = catalogue.key_url if access.key else None
    template = source.url or access.base_url or key_url or catalogue.base_url
    if not re.match(r"https?://[^/@\s]+(/|$)", template):
        raise InputError(
            f"{source.name}: want a URL http://HOST/... or https://HOST/..., without a password "
            "in it; correct --base_url or the file list"
        )
    if access.key and not source.url and "{key}" not in template:
        raise InputError(
            f"--key: want a URL with {{key}} in it, got {template}; correct --base_url or the "
            "file list"
        )
    return template if "{name}" in template else f"{template.rstrip('/')}/{{name}}"


def fill_template(template: str, source: Source, key: str | None) -> str:
    """Replaces the placeholders of a URL."""
    url = template.replace("{name}", quote(source.name))
    url = url.replace("{folder}", source.folder)
    return url.replace("{key}", quote(key or "", safe=""))


def netrc_login(url: str) -> tuple[str | None, str | None]:
    """Returns the user and the password that ~/.netrc has for the host of a URL.

    Raises OSError if there is no such file, and InputError if it is wrong.
    """
    try:
        table = netrc.netrc(os.environ.get("NETRC"))
    except netrc.NetrcParseError as error:
        raise InputError(
            f"~/.netrc: cannot be used (line {error.lineno}); correct it, and let nobody else "
            "read it (chmod 600)"
        ) from None
    login = table.authenticators(urlsplit(url).hostname)
    if not login:
        return None, None
    user, _, password = login
    return user, password


def authorization(source: Source, url: str, access: Access) -> str | None:
    """Returns the header of basic authentication, or None without a password.

    --user and --password are for the host of the archives. ~/.netrc is for any host.
    """
    user = access.user
    password = access.password
    if source.url or not user:
        try:
            user, password = netrc_login(url)
        except OSError:
            return None
    if not user:
        return None
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class Job(NamedTuple):
    """The download of one file.

    shown: the URL without secrets, for messages.
    authorization: the header of basic authentication, or None.
    part: the temporary file. It is the beginning of the file.
    folder: where the complete file belongs.
    """

    source: Source
    url: str
    shown: str
    authorization: str | None
    part: Path
    folder: Path

    @property
    def version(self) -> Path:
        """The file with the server's name for the version that `part` is the beginning of."""
        return Path(f"{self.part}.version")


def job_of(source: Source, folder: Path, catalogue: Catalogue, access: Access) -> Job:
    """Returns the job that downloads a file. Raises InputError if no URL can be made."""
    template = template_of(source, catalogue, access)
    url = fill_template(template, source, access.key)
    return Job(
        source,
        url,
        fill_template(template.replace("{key}", "***"), source, None),
        authorization(source, url, access),
        folder / f"{source.name}.part",
        folder,
    )


# ---------------------------------------------------------------------- requests
def temporary_error(error: Exception) -> TemporaryError:
    """Returns a TemporaryError with the reason of a failed connection.

    Its text repeats nothing of the server's answer or the URL, which could contain the password
    or the key.
    """
    reason = getattr(error, "reason", error)
    return TemporaryError(getattr(reason, "strerror", None) or type(reason).__name__)


def request_file(job: Job, start: int, version: str | None = None) -> http.client.HTTPResponse:
    """Requests the file from byte `start` on. Returns the open response.

    version: the version of the file that `part` belongs to. The server sends the whole file if
    it has another version.
    Raises TemporaryError for failures that another attempt may avoid, otherwise InputError.
    """
    headers = {"User-Agent": "dataprep", "Range": f"bytes={start}-"}
    if version:
        headers["If-Range"] = version
    request = urllib.request.Request(job.url, headers=headers)
    if job.authorization:
        request.add_unredirected_header("Authorization", job.authorization)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        code = error.code
    except NETWORK as error:
        raise temporary_error(error) from None
    phrase = http.client.responses.get(code, "")
    # 416: the file is shorter than the part on the disk.
    if code == 416:
        job.part.unlink(missing_ok=True)
    if code >= 500 or code in (408, 416, 429):
        raise TemporaryError(f"{code} {phrase}")
    remedy = REMEDIES.get(code, "correct --base_url or the file list")
    raise InputError(f"{job.shown}: want the file, got {code} {phrase}; {remedy}")


def length_of(response: http.client.HTTPResponse) -> int | None:
    """Returns the number of bytes of the whole file, or None if the server does not give it."""
    length = None
    if response.status == 206:
        found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        if found:
            length = found[1]
    elif response.status == 200:
        length = response.headers.get("Content-Length")
    return int(length) if length else None


def check_kind(job: Job, response: http.client.HTTPResponse) -> None:
    """Raises InputError for a web page. Some hosts answer a wrong key with a page and code 200."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"{job.shown}: want a file, got a web page; {REMEDIES[403]}, or correct --base_url"
        )


def with_retries(job: Job, work: Callable[[], Any]) -> Any:
    """Calls `work` until it raises no TemporaryError, and returns its result.

    Raises InputError after ATTEMPTS failures in a row that add nothing to the file.
    """
    failures = 0
    while True:
        size = size_of(job.part)
        try:
            return work()
        except TemporaryError as error:
            failures = 1 if size_of(job.part) > size else failures + 1
            if failures == ATTEMPTS:
                raise InputError(
                    f"{job.shown}: cannot be reached: {error}, {ATTEMPTS} times; the same command "
                    "later goes on from here"
                ) from None
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
            log.warning("%s: %s; again in %d s", job.source.name, error, pause)
            time.sleep(pause)


def size_of(path: Path) -> int:
    """The number of bytes of a file, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


# ---------------------------------------------------------------------- files
def probe(job: Job) -> tuple[Job, int | None]:
    """Asks the server for the length of a file before anything is downloaded.

    Returns the job and the length in bytes, which is None if nobody knows it.
    """

    def ask() -> int | None:
        with request_file(job, 0) as response:
            check_kind(job, response)
            return length_of(response)

    return job, with_retries(job, ask) or job.source.size


def record_version(job: Job, response: http.client.HTTPResponse) -> None:
    """Writes the server's name for the version of the file, which a resumed download sends."""
    version = response.headers.get("ETag", "W/")
    # If-Range does not allow weak entity tags.
    if version.startswith("W/"):
        version = response.headers.get("Last-Modified", "")
    write_atomically(job.version, version.encode())


def append_response(response: http.client.HTTPResponse, part: Path, bar: tqdm) -> None:
    """Appends the content of a response to the temporary file.

    Raises TemporaryError if the connection breaks.
    """
    with part.open("ab") as file:
        while True:
            try:
                # read1 returns the bytes that have arrived, so that a kill loses little.
                chunk = response.read1(CHUNK)
            except NETWORK as error:
                raise temporary_error(error) from None
            if not chunk:
                break
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def transfer(job: Job, bar: tqdm) -> None:
    """Makes one attempt to download the missing bytes of the temporary file.

    Raises TemporaryError if the connection breaks, and InputError if the server refuses.
    """
    version = job.version.read_text() if job.version.exists() else None
    start = 0
    # Without a version and without an MD5 sum nothing would show that the file has changed.
    if version or job.source.md5:
        start = size_of(job.part)
    with request_file(job, start, version if start else None) as response:
        check_kind(job, response)
        if response.status != 206:
            # The server sends the whole file: it has no ranges, or another version of the file.
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise TemporaryError(f"another part of the file came than bytes {start}-")
        if not start:
            bar.update(-size_of(job.part))
            job.part.unlink(missing_ok=True)
            record_version(job, response)
        append_response(response, job.part, bar)
        length = length_of(response)
        if length is not None and size_of(job.part) != length:
            raise TemporaryError(f"{size_of(job.part):,} of {length:,} bytes came")


def verify_part(job: Job) -> None:
    """Verifies the temporary file, and removes it if it is wrong. Raises InputError then."""
    try:
        verify(job.part, job.source, job.folder)
    except InputError as error:
        job.part.unlink()
        job.version.unlink(missing_ok=True)
        raise InputError(
            f"{error}; it is removed: try again, and if that does not help correct the file list"
        ) from None


def fetch(bar: tqdm, job_and_length: tuple[Job, int | None]) -> str | None:
    """Downloads and verifies one file. Returns an error message, or None if all is well."""
    job, length = job_and_length
    try:
        if length is None or size_of(job.part) != length:
            with_retries(job, partial(transfer, job, bar))
        verify_part(job)
    except InputError as error:
        return str(error)
    job.part.replace(job.folder / job.source.name)
    job.version.unlink(missing_ok=True)
    return None


def download(
    sources: list[Source], folder: Path, catalogue: Catalogue, access: Access, connections: int = 4
) -> None:
    """Downloads the files that are not in the folder yet.

    Raises InputError before the first byte if the server refuses a file or the disk is too small,
    and at the end if files are missing.
    """
    jobs = []
    for source in sources:
        if not is_there(source, folder):
            jobs.append(job_of(source, folder, catalogue, access))
    if not jobs:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # The pool ends its threads after Ctrl-C.
    with ThreadPool(connections) as pool:
        probed = list(pool.imap(probe, jobs))
        present = sum(size_of(job.part) for job in jobs)
        total = sum(length or 0 for _, length in probed)
        check_space(folder, total - present, f"{len(jobs)} files")
        with bytes_bar("download", total, initial=present) as bar:
            messages = list(pool.imap_unordered(partial(fetch, bar), probed))
    failed = [message for message in messages if message]
    log.info(
        "%s: %d of %d files downloaded and verified", folder, len(jobs) - len(failed), len(jobs)
    )
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} files are missing: {'; '.join(failed)}")
