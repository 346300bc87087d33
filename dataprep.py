"""Prepares the data of speaker verification: speech corpora, lists, features and packs.

python dataprep.py --help               lists the sub-commands
python dataprep.py SUBCOMMAND --help    shows the options of a sub-command, with examples

The sub-commands are in prep/commands/, and prep/ does their work.
"""

from common.interrupts import INTERRUPTED, end_at_interrupt, raise_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()
import logging
import os
import signal
import sys
from collections.abc import Sequence

from common.errors import InputError, file_problem
from common.terminal import run_program, start_logging, write_error
from prep.commands.parsing import parse_command

log = logging.getLogger("dataprep")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line. Returns the exit code: 1 if `check` finds problems, 2 for an error."""
    command, options = parse_command(sys.argv[1:] if argv is None else argv)
    start_logging()
    try:
        raise_at_interrupt()
        return int(command.run(options) or 0)
    except InputError as error:
        write_error(str(error))
        return 2
    except OSError as error:
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        write_error(f"{place}{file_problem(error)}")
        return 2
    except KeyboardInterrupt:
        log.info("Stopped. Run the same command again to resume.")
        return INTERRUPTED


if __name__ == "__main__":
    # SIGTERM and SIGHUP are handled like Ctrl-C, so that no worker process outlives the program.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    run_program(main)
