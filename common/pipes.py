"""Files of the user that may be pipes."""

import os
import stat

# {(path, device, inode) of a pipe: what it contained}
contents_of_pipes: dict[tuple[str, int, int], bytes] = {}


def read_bytes(path: str | os.PathLike, first_line_only: bool = False) -> bytes:
    """Reads a file, or at least its first line that is not blank.

    Several readers open the same file, but a pipe, such as <(command) of a shell, can be read only
    once. So the contents of pipes are kept.
    """
    status = os.stat(path)
    pipe = (str(path), status.st_dev, status.st_ino)
    if pipe in contents_of_pipes:
        # To open a pipe with a name again would wait for another writer without end.
        return contents_of_pipes[pipe]
    with open(path, "rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            if first_line_only:
                return next(filter(bytes.strip, file), b"")
            return file.read()
        contents_of_pipes[pipe] = file.read()
    return contents_of_pipes[pipe]
