"""The options of the program, and of the plug-ins.

The program's own options are declared once: in actions.py, data.py, training.py and evaluation.py.
The options of a plug-in are declared by its signature, which plugins.py reads. aliases.py holds
other spellings, rules.py holds dependencies between options. parser.py reads command lines and
YAML files.
"""

from options.actions import ACTIONS, COMPONENTS
from options.aliases import ALIASES, SETTINGS, UNITS, VALUES
from options.data import DATA
from options.evaluation import EVALUATION
from options.option import Option
from options.plugins import PARTS, components
from options.rules import FROM_CHECKPOINT, MODES, NEEDS, USES
from options.training import PROCESSES, TRAINING

# Title of a group in --help -> its options.
OPTIONS = {
    "what to do (training is the default)": ACTIONS,
    "components": COMPONENTS,
    "data": DATA,
    "training": TRAINING,
    "several processes": PROCESSES,
    "evaluation": EVALUATION,
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
