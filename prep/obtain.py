"""From a file list to a tree: download, join, extract, count. What all corpora that are downloaded share."""

from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from prep.archives import extract, is_extracted, join
from prep.download import Access, download
from prep.sources import check_counts, is_there, read_catalogue


class Request(NamedTuple):
    """folder: of all that is made. connections: downloads at once. remove: parts once they are joined, archives once they are extracted."""

    folder: Path
    file_list: Path
    access: Access = Access()
    connections: int = 4
    remove: bool = False


def is_joined(source, folder):
    return is_there(source, folder) or is_extracted(source, folder)


def download_all(catalogue, request):
    """Gets what is neither there, nor joined, nor extracted."""
    folder = request.folder
    joined = {
        name
        for source in catalogue.sources
        if source.parts and is_joined(source, folder)
        for name in source.parts
    }
    wanted = [
        source
        for source in catalogue.sources
        if not source.parts and source.name not in joined and not is_extracted(source, folder)
    ]
    download(wanted, folder, catalogue, request.access, request.connections)


def need(sources, folder, why):
    """InputError unless all of them are there, and whole."""
    if missing := [source.name for source in sources if not is_there(source, folder)]:
        raise InputError(
            f"{folder}: want {', '.join(missing)} {why}, got no such files; run --download first, or give a --file_list without them"
        )


def join_all(catalogue, request):
    named, folder = {source.name: source for source in catalogue.sources}, request.folder
    wanted = [
        source for source in catalogue.sources if source.parts and not is_joined(source, folder)
    ]
    need([named[name] for source in wanted for name in source.parts], folder, "to be joined")
    for source in wanted:
        join(source, folder)
    if request.remove:
        remove(folder / name for source in catalogue.sources for name in source.parts)


def extract_all(catalogue, request):
    """Joins first what was not joined, as users of older programs expect."""
    folder = request.folder
    join_all(catalogue, request)
    archives = [source for source in catalogue.sources if source.into]
    wanted = [source for source in archives if not is_extracted(source, folder)]
    need(wanted, folder, "to be extracted")
    for source in wanted:
        extract(source, folder)
    if request.remove:
        remove(folder / source.name for source in archives)
    check_counts(catalogue, folder)


def remove(paths):
    for path in paths:
        path.unlink(missing_ok=True)


def obtain(request):
    """All of it, for corpora that take no further steps."""
    catalogue = read_catalogue(request.file_list)
    for step in (download_all, join_all, extract_all):
        step(catalogue, request)
