"""The sub-command that downloads published checkpoints."""

import argparse
import logging
from pathlib import Path

from common.errors import InputError
from common.spelling import did_you_mean
from prep.commands.options import Subcommand, number_option, path_option
from prep.constants import CATALOGUES

log = logging.getLogger(__name__)


def run_checkpoint(args: argparse.Namespace) -> None:
    """Downloads a published checkpoint, or lists all of them."""
    # Imported here, because --help does not need it.
    from prep import published

    catalogue = published.read_published(args.file_list)
    if args.checkpoint is None:
        log.info("%s", published.table_of_checkpoints(catalogue))
        return
    if args.checkpoint not in catalogue:
        see = "`python dataprep.py checkpoint` lists all names."
        raise InputError(
            f"checkpoint {args.checkpoint}: expected a name in {args.file_list}, found no such "
            f"name. {did_you_mean(args.checkpoint, catalogue, see)}"
        )
    published.obtain_checkpoint(
        catalogue[args.checkpoint], args.output, args.base_url, args.connections
    )


CHECKPOINT_COMMANDS = {
    "checkpoint": Subcommand(
        run_checkpoint,
        "download a published checkpoint, or list all of them",
        "Downloads a checkpoint of another project to DIR/NAME.model, and its options to "
        "DIR/NAME.yaml. Without NAME, lists all checkpoints with their published EER.",
        {
            "--output": path_option(
                "DIR", "folder of the files (default: %(default)s)", default=Path("checkpoints")
            ),
            "--file_list": path_option(
                "YAML",
                "the checkpoints and their hosts; comments in the default list describe the "
                "format (default: prep/catalogues/checkpoints.yaml)",
                default=CATALOGUES / "checkpoints.yaml",
            ),
            "--base_url": {
                "metavar": "URL",
                "help": "another URL of the files, such as a copy; {name} and {folder} are "
                "replaced",
            },
            "--connections": number_option(1, argparse.SUPPRESS, default=1),
        },
        (
            "checkpoint",
            "checkpoint campplus_zh_en --output checkpoints",
        ),
        value={
            "metavar": "NAME",
            "nargs": "?",
            "help": "name of the checkpoint (default: list all)",
        },
        notes="The file is used with --initial_model DIR/NAME.model of trainSpeakerNet.py.",
    ),
}
