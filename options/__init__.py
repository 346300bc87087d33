"""The options of the program, and of the plug-ins.

The program's own options are declared once: in actions.py, data.py, network.py, training.py,
evaluation.py, backend.py and computer.py. The options of a plug-in are declared by its signature,
which plugins.py reads. aliases.py holds other spellings, rules.py holds dependencies between
options. parser.py reads command lines and YAML files. help_text.py makes --help and --help-all.
"""

from options.actions import ACTIONS
from options.aliases import ALIASES, SETTINGS, UNITS, VALUES
from options.backend import BACKEND
from options.computer import COMPUTER
from options.data import DATA
from options.evaluation import EVALUATION
from options.network import COMPONENTS
from options.option import Option
from options.plugins import PARTS, components
from options.rules import FROM_CHECKPOINT, MODES, NEEDS, USES
from options.training import TRAINING

# Title of a group in --help -> its options.
OPTIONS = {
    "What to do (without --eval, --extract or --verify: train)": ACTIONS,
    "Data": DATA,
    "Network and loss": COMPONENTS,
    "Training": TRAINING,
    "Evaluation": [*EVALUATION, *BACKEND],
    "Computer": COMPUTER,
}
__all__ = [
    "ALIASES",
    "FROM_CHECKPOINT",
    "MODES",
    "NEEDS",
    "OPTIONS",
    "PARTS",
    "SETTINGS",
    "UNITS",
    "USES",
    "VALUES",
    "Option",
    "components",
]
