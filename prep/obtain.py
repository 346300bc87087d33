"""The steps from a file list to a folder of files: download, join, extract, count.

All corpora that are downloaded share these steps.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from corpus.missing import first_names
from prep.archives import extract, is_extracted, join_parts
from prep.download import Access, download
from prep.output import require_folder
from prep.sources import Catalogue, Source, check_counts, is_there, read_catalogue


class Request(NamedTuple):
    """The options of a download.

    folder: the folder of all downloaded and extracted files.
    connections: number of simultaneous downloads.
    remove: whether parts are removed after they are joined, and archives after the extraction.
    """

    folder: Path
    file_list: Path
    access: Access = Access()
    connections: int = 4
    remove: bool = False


def is_joined(source: Source, folder: Path) -> bool:
    """Whether the parts of an archive are not needed any more."""
    return is_there(source, folder) or is_extracted(source, folder)


def download_all(catalogue: Catalogue, request: Request) -> None:
    """Downloads the files that are not on the disk, not joined and not extracted."""
    folder = request.folder
    joined = set()
    for source in catalogue.sources:
        if source.parts and is_joined(source, folder):
            joined.update(source.parts)
    missing = []
    for source in catalogue.sources:
        if source.parts or source.name in joined or is_extracted(source, folder):
            continue
        missing.append(source)
    download(missing, folder, catalogue, request.access, request.connections)


def require_files(sources: Iterable[Source], folder: Path, purpose: str) -> None:
    """Raises InputError unless all files are on the disk and complete.

    `purpose` says what the files are needed for.
    """
    missing = [source.name for source in sources if not is_there(source, folder)]
    if missing:
        remedy = "Run 'python dataprep.py download' first"
        require_folder(folder, f"{remedy}.", "--save_path")
        raise InputError(
            f"{folder}: cannot find {first_names(missing)} {purpose}. {remedy}, or remove the "
            "missing files from the file list (--file_list)."
        )


def join_all(catalogue: Catalogue, request: Request) -> None:
    """Joins the parts of all archives. Raises InputError if parts are missing or wrong."""
    folder = request.folder
    by_name = {source.name: source for source in catalogue.sources}
    archives = [
        source for source in catalogue.sources if source.parts and not is_joined(source, folder)
    ]
    parts = []
    for source in archives:
        parts += [by_name[name] for name in source.parts]
    require_files(parts, folder, "to join")
    for source in archives:
        join_parts(source, folder)
    if request.remove:
        for source in catalogue.sources:
            remove_files(folder / name for name in source.parts)


def extract_all(catalogue: Catalogue, request: Request) -> None:
    """Extracts all archives, and joins them first where necessary.

    Users of voxceleb_trainer expect that the extraction also joins parts. Raises InputError if
    archives are missing or wrong, or if the number of files is wrong afterwards.
    """
    folder = request.folder
    join_all(catalogue, request)
    archives = [source for source in catalogue.sources if source.into]
    missing = [source for source in archives if not is_extracted(source, folder)]
    require_files(missing, folder, "to extract")
    for source in missing:
        extract(source, folder)
    if request.remove:
        remove_files(folder / source.name for source in archives)
    check_counts(catalogue, folder)


def remove_files(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def obtain(request: Request) -> None:
    """Runs all steps, for corpora that need no further steps."""
    catalogue = read_catalogue(request.file_list)
    download_all(catalogue, request)
    join_all(catalogue, request)
    extract_all(catalogue, request)
