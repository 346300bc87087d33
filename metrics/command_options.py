"""The command line of tuneThreshold.py: its sub-commands, their options, and older spellings.

Without a sub-command, the program prints the metrics of scores files. A sub-command is the first
word of the command line.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from common.spelling import closest, did_you_mean
from common.terminal import write_error
from metrics import backend_options, options, score_options
from metrics.confidence import REPEATS
from metrics.score_options import HiddenOptions, Options

PROGRAM = "tuneThreshold.py"
WIDTH = 100
NUMBERS = {"float": "a number", "int": "a whole number"}


class ScoresCommand(NamedTuple):
    """A sub-command, or the program without one.

    usage: the words after its name. summary: one line for the help of the program. details: further
    sentences of its own help. examples: words after the program's name. add: declares the options.
    """

    usage: str
    summary: str
    details: str
    examples: Sequence[str]
    add: Callable[[argparse.ArgumentParser], None]


# ---------------------------------------------------------------------- options
def add_all_metric_options(parser: Options) -> None:
    """Declares the options of the metrics of scores files, but not of the bootstrap."""
    score_options.add_metric_options(parser)
    score_options.add_plain_options(parser)
    score_options.add_spoofing_options(parser)
    options.add_slice_options(parser)


def add_hidden_options(parser: argparse.ArgumentParser) -> None:
    """Declares all options of the metrics, which the help of the sub-command leaves out."""
    hidden = HiddenOptions(parser)
    add_all_metric_options(hidden)
    options.add_confidence_options(hidden)
    options.add_speaker_options(hidden)


def add_options_without_command(parser: argparse.ArgumentParser) -> None:
    """Declares the scores files and all options of their metrics."""
    parser.add_argument("scores", nargs="+", metavar="SCORES", help="scores files")
    add_all_metric_options(parser)
    options.add_confidence_options(parser)
    options.add_speaker_options(parser)


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of compare."""
    parser.add_argument("first", metavar="A", help="scores file of the first system")
    parser.add_argument(
        "second", metavar="B", help="scores file of the second system, its trials in any order"
    )
    add_all_metric_options(HiddenOptions(parser))
    options.add_confidence_options(parser, bootstrap=REPEATS)
    options.add_speaker_options(parser)


def add_calibrate_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of calibrate and fuse."""
    parser.add_argument(
        "scores", nargs="+", metavar="SCORES", help="scores files of the same trials"
    )
    parser.add_argument(
        "--output", metavar="JSON", required=True, help="file of the calibration, which is written"
    )
    options.add_quality_option(parser)
    options.add_prior_option(parser)
    score_options.add_plain_options(parser)


def add_fuse_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of fuse: of calibrate, and of a fusion with a countermeasure."""
    add_calibrate_options(parser)
    group = parser.add_argument_group("fusion with a countermeasure (spoofing-aware scores)")
    score_options.add_cm_option(group)
    options.add_fusion_options(group)
    score_options.add_eer_option(group)
    score_options.add_adcf_options(group)


def add_apply_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of apply."""
    parser.add_argument("json", metavar="JSON", help="file that calibrate or fuse wrote")
    parser.add_argument(
        "scores",
        nargs="+",
        metavar="SCORES",
        help="scores files of the same trials, one for each system of the calibration",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="scores file that is written (default: FIRST_SCORES_calibrated.txt)",
    )
    options.add_quality_option(parser)
    add_hidden_options(parser)


def add_average_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of average."""
    parser.add_argument(
        "scores", nargs="+", metavar="SCORES", help="scores files of the same trials, in any order"
    )
    parser.add_argument(
        "--output", metavar="FILE", required=True, help="scores file that is written"
    )
    add_hidden_options(parser)


def add_plot_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of plot."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of training runs")
    parser.add_argument(
        "--curves",
        metavar="FILE",
        help="images without the extension .png or .svg (default: curves in the first folder)",
    )


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of report."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN_OR_SCORES", help="folders of runs, and scores files"
    )
    parser.add_argument(
        "--output", metavar="HTML", default="report.html", help="the page (%(default)s)"
    )
    parser.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders that trainSpeakerNet.py --extract wrote, for maps of their speakers",
    )
    score_options.add_rate_options(parser)
    score_options.add_plain_options(parser)
    score_options.add_spoofing_options(parser)


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of score."""
    backend_options.add_options_of_score(parser)
    add_hidden_options(parser)


# ---------------------------------------------------------------------- sub-commands
METRICS = ScoresCommand(
    "SCORES [SCORES ...] [options]",
    "Print the metrics of scores files and draw their DET curves.",
    "A line of a scores file is '1|0 file file score'. If some speech is spoofed, a line is\n"
    "'speaker file bonafide|attack target|nontarget|spoof score' (the third word may be missing).\n"
    "Scores of single files have lines 'file attack|- bonafide|spoof score'. The speaker and the\n"
    "codec may follow the file. "
    "A trial is accepted if its score is at or above the threshold.",
    ["exps/demo/result/scores.txt", "before.txt after.txt --det both.png"],
    add_options_without_command,
)
CALIBRATE = ScoresCommand(
    "SCORES [SCORES ...] --output JSON [options]",
    "Learn log-likelihood ratios from scores by logistic regression.",
    "Several scores files of the same trials are fused into one score. Use the trials of a\n"
    "development set, not of the test set.",
    ["calibrate dev.txt --output calibration.json"],
    add_calibrate_options,
)
COMMANDS = {
    "compare": ScoresCommand(
        "A B [options]",
        "Test whether two systems differ on the same trials.",
        "Prints the metrics of both, and their differences with intervals and p-values.\n"
        f"Speakers are resampled {REPEATS} times unless --bootstrap gives another number.\n"
        f"The other options of the metrics work too, see `python {PROGRAM} --help`.",
        ["compare before.txt after.txt", "compare before.txt after.txt --speaker_level 2"],
        add_compare_options,
    ),
    "calibrate": CALIBRATE,
    "fuse": CALIBRATE._replace(
        summary="Fuse the scores of several systems into one log-likelihood ratio.",
        details="This is the sub-command calibrate with several scores files of the same trials.\n"
        "With --cm it fuses speaker scores with countermeasure scores instead.",
        examples=[
            "fuse first.txt second.txt --output fusion.json",
            "fuse dev.txt --cm dev_cm.txt --fusion gaussian --output fusion.json",
        ],
        add=add_fuse_options,
    ),
    "apply": ScoresCommand(
        "JSON SCORES [SCORES ...] [options]",
        "Turn scores into the log-likelihood ratios of a calibration.",
        "Writes a scores file of log-likelihood ratios, and prints its metrics.\n"
        "The metrics actDCF, Cllr and minCllr show how well it is calibrated.\n"
        "A fusion with a countermeasure needs its scores: --cm FILE.\n"
        f"The options of the metrics work too, see `python {PROGRAM} --help`.",
        ["apply calibration.json scores.txt", "apply fusion.json first.txt second.txt"],
        add_apply_options,
    ),
    "average": ScoresCommand(
        "SCORES SCORES [SCORES ...] --output FILE [options]",
        "Average the scores of the same trials, such as scores at several speeds.",
        "Writes a scores file of the means, and prints its metrics.\n"
        "The scores need the same scale: scores of one network, or normalised scores.\n"
        "The sub-command fuse weights scores of different scales instead.\n"
        f"The options of the metrics work too, see `python {PROGRAM} --help`.",
        ["average speed_0.9.txt speed_1.txt speed_1.1.txt --output mean.txt"],
        add_average_options,
    ),
    "backend": ScoresCommand(
        "LIST --embeddings DIR --output FILE [options]",
        "Estimate a back end from embeddings, such as mean subtraction or PLDA.",
        "The back end belongs to the network that made the embeddings.\n"
        f"`python {PROGRAM} score` and trainSpeakerNet.py --backend use it.",
        ["backend train.txt --embeddings npy --output plda.npz --stages mean plda"],
        backend_options.add_backend_options,
    ),
    "score": ScoresCommand(
        "TRIALS --embeddings DIR --output SCORES [options]",
        "Score trials of embeddings, with or without a back end.",
        "Writes a scores file, and prints its metrics.\n"
        f"The options of the metrics work too, see `python {PROGRAM} --help`.",
        ["score trials.txt --embeddings npy --backend plda.npz --output scores.txt"],
        add_score_options,
    ),
    "plot": ScoresCommand(
        "RUN [RUN ...] [options]",
        "Draw the losses and EERs of training runs by epoch.",
        "The images are curves.png and curves.svg.",
        ["plot exps/demo", "plot exps/demo exps/longer --curves both"],
        add_plot_options,
    ),
    "report": ScoresCommand(
        "RUN_OR_SCORES [RUN_OR_SCORES ...] [options]",
        "Write one HTML page about several runs or scores files.",
        "The page needs no network and no scripts.",
        ["report exps/demo exps/longer --output report.html"],
        add_report_options,
    ),
}


# Sub-commands that never were flags. --backend is an option of score.
WITHOUT_FLAG = ("average", "backend", "score")


class ScoresParser(argparse.ArgumentParser):
    """The parser of a sub-command, or of the program without one (name None)."""

    def __init__(self, name: str | None = None) -> None:
        command = COMMANDS[name] if name else METRICS
        words = f"{name} {command.usage}" if name else command.usage
        usage = f"python {PROGRAM} {words}"
        if name is None:
            usage += f"\n       python {PROGRAM} SUBCOMMAND ..."
        super().__init__(
            prog=PROGRAM,
            usage=usage,
            description=f"{command.summary}\n\n{help_body(name, command)}",
            formatter_class=partial(
                argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=28
            ),
        )
        self.name = name
        command.add(self)

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong with the command line, and ends the program with code 2."""
        words = f"{PROGRAM} {self.name}" if self.name else PROGRAM
        write_error(f"{plain_message(message)} See `python {words} --help`.")
        sys.exit(2)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parses the words after the name of the sub-command."""
        found, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            self.reject(next((word for word in unknown if word.startswith("-")), unknown[0]))
        return found

    def reject(self, word: str) -> NoReturn:
        """Ends the program because of an unknown option, or a word too many."""
        place = self.name or "the program without a sub-command"
        option = word.partition("=")[0]
        if not word.startswith("-"):
            self.error(f"{word}: {place} has no use for this word")
        owners = [name for name in COMMANDS if option in declared_options(ScoresParser(name))]
        remedy = did_you_mean(option, declared_options(self))
        if option in declared_options(ScoresParser()):
            remedy = "It belongs to the metrics of scores files."
        elif owners:
            first = ", ".join(owners[:-1])
            remedy = f"It belongs to {' and '.join(filter(None, [first, owners[-1]]))}."
        self.error(f"{option}: {place} has no such option. {remedy}".rstrip())


def help_body(name: str | None, command: ScoresCommand) -> str:
    """Returns the part of a help between its first sentence and the options."""
    lines = []
    if name is None:
        lines.append(f"sub-commands (`python {PROGRAM} SUBCOMMAND --help` shows their options):")
        lines += [f"  {word:11s}{each.summary}" for word, each in COMMANDS.items()]
        lines.append("")
    lines += [command.details, "", "examples:"]
    lines += [f"  python {PROGRAM} {example}" for example in command.examples]
    return "\n".join(lines)


def plain_message(message: str) -> str:
    """Rewrites a message of argparse as a sentence that starts with the option."""
    message = message.removeprefix("argument ")
    found = re.fullmatch(r"(\S+): invalid (float|int) value: '(.*)'", message)
    if found:
        return f"{found[1]}: expected {NUMBERS[found[2]]}, found '{found[3]}'."
    found = re.fullmatch(r"(\S+): invalid choice: '(.*)' \(choose from (.*)\)", message)
    if found:
        choices = found[3].replace("'", "")
        guess = did_you_mean(found[2], choices.split(", "))
        return f"{found[1]}: expected one of {choices}, found '{found[2]}'. {guess}".rstrip()
    found = re.fullmatch(r"(\S+): expected (.*) arguments?", message)
    if found:
        return f"{found[1]}: expected {found[2]} value, found none."
    found = re.fullmatch(r"the following arguments are required: (.*)", message)
    if found:
        return f"{found[1]}: expected a value, found none."
    return message if message[-1] in ".?" else f"{message}."


def declared_options(parser: argparse.ArgumentParser) -> list[str]:
    """Returns the options of a parser, such as --output."""
    # argparse has no public list of them.
    return [*parser._option_string_actions]


# ---------------------------------------------------------------------- words
def translate_old_flags(words: Sequence[str]) -> list[str]:
    """Turns the older spellings of the sub-commands into the present ones.

    `--compare A B --seed 1` becomes `compare A B --seed 1`. The values of the flag come first, then
    all other words in their order: `scores.txt --apply c.json` becomes `apply c.json scores.txt`.
    """
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--")
        if flag == name or name not in COMMANDS or name in WITHOUT_FLAG:
            continue
        end = place + 1
        values = [value] if equals else []
        most = {"compare": 2, "apply": 1}.get(name, len(words))
        while len(values) < most and end < len(words) and not words[end].startswith("-"):
            values.append(words[end])
            end += 1
        return [name, *values, *words[:place], *words[end:]]
    return list(words)


def parse_words(words: Sequence[str]) -> tuple[ScoresParser, argparse.Namespace]:
    """Parses a command line. Ends the program with code 2 if the command line is wrong."""
    words = translate_old_flags(words)
    first = words[0] if words else ""
    name = first if first in COMMANDS else None
    parser = ScoresParser(name)
    if not words:
        parser.error("expected scores files or a sub-command, found nothing")
    if name:
        return parser, parser.parse(words[1:])
    guess = closest(first, COMMANDS)
    if guess and not first.startswith("-") and not Path(first).exists():
        parser.error(
            f"{first}: expected a scores file or a sub-command, found neither. "
            f"Did you mean {guess}?"
        )
    return parser, parser.parse(words)
