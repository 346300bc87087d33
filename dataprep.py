"""Prepares the data of speaker verification: speech corpora, lists, features and packs.

python dataprep.py --help               lists the sub-commands
python dataprep.py SUBCOMMAND --help    shows the options of a sub-command, with examples

The sub-commands are in prep/commands/, and prep/ does their work.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from common.errors import InputError, file_problem
from prep.commands.parsing import parse_command

log = logging.getLogger("dataprep")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line. Returns the exit code: 1 if `check` finds problems, 2 for an error."""
    command, options = parse_command(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        return int(command.run(options) or 0)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        sys.stderr.write(f"error: {place}{file_problem(error)}\n")
        return 2
    except KeyboardInterrupt:
        log.info("Stopped. Run the same command again to resume.")
        return 130


if __name__ == "__main__":
    # SIGTERM is handled like Ctrl-C, so that no worker process outlives the program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
