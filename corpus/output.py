"""What the makers of corpora share: audio files, the record of the options that a folder was filled with, and work on all cores."""
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import soundfile

from corpus import InputError, write_atomically
from models._frontend import SAMPLE_RATE

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
UNWRITABLE = re.compile("^\ufeff|[\ud800-\udfff]")                       # a byte order mark would be lost; bytes that are no UTF-8


def write_audio(path, x):
    """x [T] between -1 and 1 -> a 16-bit file, WAV or FLAC by the extension of the Path."""
    data = io.BytesIO()
    soundfile.write(data, np.rint(x * 32767).astype(np.int16), SAMPLE_RATE, subtype="PCM_16", format=FORMATS[path.suffix.lower()])
    write_atomically(path, data.getbuffer(), flush=False)


def check_record(record, options, what):
    """InputError unless the JSON file `record` holds these options; what: the kind of corpus, for users."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{record}: want the options of a {what} in JSON; choose another folder, or remove this one") from None
    if found != options:
        differ = ", ".join(f"{k} {found.get(k) if isinstance(found, dict) else found} (now {v})" for k, v in options.items()
                           if not isinstance(found, dict) or found.get(k) != v)
        raise InputError(f"{record.parent}: holds a {what} with other options: {differ}; choose another folder, or remove this one")


def begin_record(record, options):
    """Marks the folder of the JSON file `record` as being filled with these options. InputError if anything else is in it."""
    folder = record.parent
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: want a new or empty folder, got one with other files in it; choose another")
    write_atomically(record, json.dumps(options, indent=1).encode())


def check_words(names, place):
    """InputError unless each of the names, of speakers or files, can stand in a list; place: where they are from, for complaints."""
    for name in names:
        if name.split() != [name]:
            raise InputError(f"{place}: want names without blanks, which separate the columns of a list, got {name!r}; rename it")
        if UNWRITABLE.search(name):
            raise InputError(f"{place}: want names in UTF-8, got {name!r}; rename it")


def write_lists(lists):
    """{path: lines} -> text files. InputError, before anything is written, if one of them is there and says something else."""
    texts = {Path(path): "".join(f"{line}\n" for line in lines).encode() for path, lines in lists.items()}
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text:
            raise InputError(f"{path}: is there already, with other lines; give another --output, or remove it")
    for path, text in texts.items():
        write_atomically(path, text)


def report_failures(path, jobs, failed):
    """failed: {job: complaint} of those of the jobs that could not be done. Writes the complaints to `path`, or removes it if there are none;
    InputError with the first of them."""
    path.unlink(missing_ok=True)
    if failed:
        complaints = [failed[job] for job in jobs if job in failed]
        write_atomically(path, "".join(f"{line}\n" for line in complaints).encode())
        raise InputError(f"{len(failed)} of {len(jobs)} files cannot be used and are left out, all in {path}; "
                         f"the first: {'; '.join(complaints[:10])}")


def check_space(folder, needed, what):
    """InputError unless `needed` bytes are free where the folder is or will be."""
    free = shutil.disk_usage(next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())).free
    if needed > free:
        raise InputError(f"{folder}: want {needed / 1e9:,.1f} GB of free disk for {what}, got {free / 1e9:,.1f} GB; make room, or choose a folder elsewhere")


def worker_signals():
    """Ctrl-C is for the main process, which then ends its workers by SIGTERM; they end what they have started, and leave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def in_parallel(work, jobs, processes):
    """Yields work(job) of all jobs in any order; processes: 1 to stay in this one, None for all cores."""
    processes = processes or os.cpu_count()
    if processes == 1:
        yield from map(work, jobs)
        return
    with multiprocessing.Pool(processes, worker_signals) as pool:
        yield from pool.imap_unordered(work, jobs, chunksize=4)
