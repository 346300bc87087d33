"""All sub-commands of dataprep.py, and the published flags that select them."""

from prep.commands.checkpoints import CHECKPOINT_COMMANDS
from prep.commands.corpora import CORPUS_COMMANDS
from prep.commands.features import FEATURE_COMMANDS
from prep.commands.lists import LIST_COMMANDS
from prep.commands.options import Subcommand
from prep.commands.packs import PACK_COMMANDS
from prep.commands.speech import SPEECH_COMMANDS

# The sub-commands in the groups of `dataprep.py --help`.
GROUPS: dict[str, dict[str, Subcommand]] = {
    "Corpora": CORPUS_COMMANDS,
    "Synthetic and spoofed speech": SPEECH_COMMANDS,
    "Lists": LIST_COMMANDS,
    "Features and embeddings": FEATURE_COMMANDS,
    "Packs": PACK_COMMANDS,
    "Checkpoints": CHECKPOINT_COMMANDS,
}
SUBCOMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
# Sub-command of all steps of VoxCeleb.
ALL_STEPS = "voxceleb"


def flag_of(name: str) -> str:
    """Returns the published flag of a sub-command."""
    return "--all" if name == ALL_STEPS else f"--{name.replace('-', '_')}"


# Published flag -> name of the sub-command.
FLAGS = {flag_of(name): name for name in SUBCOMMANDS}
