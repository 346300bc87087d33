"""Downloads several files at once. Every download resumes where it was interrupted.

A file gets its name when its MD5 sum is right. The module needs only ranges, passwords, redirects
and proxies. Therefore it uses urllib, which does not have to be installed.
"""

import http.client
import logging
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
from urllib.parse import urlsplit

from tqdm import tqdm

from common.errors import InputError, naming
from common.outputs import remove_link
from common.writing import write_atomically
from prep.addresses import OTHER_REMEDY, Access, authorization, fill_template, template_of
from prep.output import check_space, exclusive_access
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
    401: "Give the right --user and --password.",
    403: "Give the right --user and --password, or a --key that is still valid.",
    404: "The file is not at this address. Correct --base_url or the file list (--file_list).",
}


class TemporaryError(Exception):
    """A failure that may not happen again at the next attempt."""


def server_of(url: str) -> tuple[str | None, int | None]:
    """Returns the host and the port of a URL. The port is None if it is the usual one.

    Raises ValueError if the URL has no valid host or port.
    """
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.hostname, None if parts.port == usual else parts.port


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects. The password goes only to the same server, never from https to http.

    Another port of the same host is another server.
    """

    def redirect_request(
        self, request: urllib.request.Request, *rest: Any
    ) -> urllib.request.Request | None:
        new_request = super().redirect_request(request, *rest)
        same_server = server_of(request.full_url) == server_of(new_request.full_url)
        safe_scheme = urlsplit(new_request.full_url).scheme in ("https", request.type)
        if "Authorization" in request.unredirected_hdrs and same_server and safe_scheme:
            password = request.unredirected_hdrs["Authorization"]
            new_request.add_unredirected_header("Authorization", password)
        return new_request


opener = urllib.request.build_opener(SafeRedirects)


# ---------------------------------------------------------------------- jobs
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
    """Requests the bytes of the file that follow the first `start` bytes. Returns the response.

    version: the version of the file that `part` belongs to. The server sends the complete file if
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
    except ValueError:
        raise InputError(
            f"{job.shown}: the server redirects to an address that is not a URL. {OTHER_REMEDY}"
        ) from None
    phrase = http.client.responses.get(code, "")
    # 416: the file is shorter than the part on the disk.
    if code == 416:
        job.part.unlink(missing_ok=True)
    if code >= 500 or code in (408, 416, 429):
        raise TemporaryError(f"{code} {phrase}")
    remedy = REMEDIES.get(code, OTHER_REMEDY)
    raise InputError(f"{job.shown}: expected the file, found {code} {phrase}. {remedy}")


def length_of(response: http.client.HTTPResponse) -> int | None:
    """Returns the number of bytes of the complete file, or None if the server does not say it."""
    # A header that is not a number is as good as none.
    found = None
    if response.status == 206:
        found = re.search(r"/([0-9]{1,18})$", response.headers.get("Content-Range", ""))
    elif response.status == 200:
        found = re.fullmatch("([0-9]{1,18})", response.headers.get("Content-Length", ""))
    return int(found[1]) if found else None


def check_kind(job: Job, response: http.client.HTTPResponse) -> None:
    """Raises InputError for a web page. Some hosts answer a wrong key with a page and code 200."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"{job.shown}: expected a file, found a web page. {REMEDIES[403]} {OTHER_REMEDY}"
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
                    f"{job.shown}: {ATTEMPTS} attempts to download failed ({error}). Run the same "
                    "command later. It resumes here."
                ) from None
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
            log.warning(
                "warning: %s: %s. The next attempt starts in %d s.", job.source.name, error, pause
            )
            time.sleep(pause)


def size_of(path: Path) -> int:
    """The number of bytes of a file, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


# ---------------------------------------------------------------------- files
def probe(job: Job) -> tuple[Job, int | None]:
    """Asks the server for the length of a file before anything is downloaded.

    Returns the job and the length in bytes, which is None if it is unknown.
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
    # A header may continue on a further line, but the header of a request may not.
    write_atomically(job.version, " ".join(version.split()).encode())


def append_response(response: http.client.HTTPResponse, part: Path, bar: tqdm) -> None:
    """Appends the content of a response to the temporary file.

    Raises TemporaryError if the connection breaks.
    """
    with naming(part), part.open("ab") as file:
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
    # Without a version and without an MD5 sum a change of the file would not be noticed.
    if version or job.source.md5:
        start = size_of(job.part)
    with request_file(job, start, version if start else None) as response:
        check_kind(job, response)
        if response.status != 206:
            # The server sends the complete file: it has no ranges, or another version of the file.
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise TemporaryError(f"the server sent another part than bytes {start}-")
        if not start:
            bar.update(-size_of(job.part))
            job.part.unlink(missing_ok=True)
            record_version(job, response)
        append_response(response, job.part, bar)
        length = length_of(response)
        if length is not None and size_of(job.part) != length:
            raise TemporaryError(f"received {size_of(job.part):,} of {length:,} bytes")


def verify_part(job: Job) -> None:
    """Verifies the temporary file, and removes it if it is wrong. Raises InputError then."""
    try:
        verify(job.part, job.source, job.folder)
    except InputError as error:
        job.part.unlink()
        job.version.unlink(missing_ok=True)
        raise InputError(
            f"{error} The downloaded file was removed. Run the same command again. If this error "
            "comes back, correct the file list."
        ) from None


def fetch(bar: tqdm, job_and_length: tuple[Job, int | None]) -> str | None:
    """Downloads and verifies one file. Returns an error message, or None without an error."""
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


def size_text(probed: list[tuple[Job, int | None]], present: int) -> str:
    """Describes the size of a download, of which `present` bytes are on the disk already."""
    lengths = [length for _, length in probed]
    if None in lengths:
        return "size unknown"
    return f"{sum(lengths) / 1e9:,.2f} GB, {present / 1e9:,.2f} GB downloaded before"


def download(
    sources: list[Source], folder: Path, catalogue: Catalogue, access: Access, connections: int = 4
) -> None:
    """Downloads the files that are not in the folder yet.

    Raises InputError before the first byte if the server refuses a file or the disk is too small.
    Raises InputError at the end if files are missing.
    """
    jobs = []
    for source in sources:
        if not is_there(source, folder):
            jobs.append(job_of(source, folder, catalogue, access))
    if not jobs:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_access(folder):
        # Another command may have downloaded them while this one waited.
        jobs = [job for job in jobs if not is_there(job.source, folder)]
        if jobs:
            run_jobs(jobs, folder, connections)


def run_jobs(jobs: list[Job], folder: Path, connections: int) -> None:
    """Downloads files to an existing folder. See download() for the errors."""
    for job in jobs:
        remove_link(job.part)
    # The pool ends its threads after Ctrl-C.
    with ThreadPool(connections) as pool:
        probed = list(pool.imap(probe, jobs))
        present = sum(size_of(job.part) for job in jobs)
        total = sum(length or 0 for _, length in probed)
        check_space(folder, total - present, f"{len(jobs)} files")
        log.info("Downloading %d files to %s, %s.", len(jobs), folder, size_text(probed, present))
        with bytes_bar("download", total, initial=present) as bar:
            messages = list(pool.imap_unordered(partial(fetch, bar), probed))
    failed = [message for message in messages if message]
    log.info(
        "Downloaded and verified %d of %d files in %s.",
        len(jobs) - len(failed),
        len(jobs),
        folder,
    )
    if failed:
        errors = "".join(f"\n  {message}" for message in failed)
        raise InputError(
            f"{folder}: {len(failed)} of {len(jobs)} downloads failed. The errors are:{errors}"
        )
