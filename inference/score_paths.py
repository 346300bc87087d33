"""Where scores are written: next to the checkpoint, in a file named after it and the list."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import InputError
from common.outputs import check_output, input_files, is_special
from common.run_paths import CHECKPOINTS, CONFIG, SCORES
from inference.evaluation import lists_and_roots, path_of_list, path_of_part
from metrics.own_files import is_qualities, is_scores

# Folder of scores files in a run folder.
RESULTS = Path(SCORES).parent
# Options that name files or folders to write.
OUTPUTS = ("output", "save_path", "gen_target_dir", "export", "estimate_backend")
# The end of the name of a table of quality measures.
QUALITIES = "_qualities"


def scores_paths(options: argparse.Namespace) -> list[Path]:
    """Returns the scores file of every list of trials.

    --output names the file, or --save_path the run folder. Without them the scores of
    RUN/model/best.model on trials.txt are written to RUN/result/scores_best_trials.txt. The scores
    of a checkpoint outside a run folder are written to the folder of the checkpoint.
    """
    lists = names_of_lists(options)
    if options.output:
        return [path_of_list(Path(options.output), i) for i, _ in enumerate(lists, 1)]
    checkpoint = Path(options.initial_model)
    folder = chosen_folder(options) or folder_of_scores(checkpoint)
    return [folder / f"scores_{stem_of(checkpoint)}_{name}.txt" for name in lists]


def path_of_pairs(options: argparse.Namespace) -> Path:
    """Returns the scores file of --all_pairs, all_pairs_best_LIST.txt in the place of --eval."""
    if options.output:
        return Path(options.output)
    checkpoint = Path(options.initial_model)
    folder = chosen_folder(options) or folder_of_scores(checkpoint)
    return folder / f"all_pairs_{stem_of(checkpoint)}_{Path(options.all_pairs).stem}.txt"


def paths_of_baseline(options: argparse.Namespace) -> list[Path]:
    """Returns the scores file of every list of trials for --check, which has no checkpoint.

    --output names the file, or --save_path the run folder. Without them the scores are written to
    --test_path, the folder of the embeddings, in scores_unprocessed_LIST.txt.
    """
    lists = names_of_lists(options)
    folder = chosen_folder(options)
    if not options.output and not folder:
        root = Path(lists_and_roots(options)[1][0])
        return [root / f"scores_unprocessed_{name}.txt" for name in lists]
    path = Path(options.output or folder / "scores_unprocessed.txt")
    return [path_of_list(path, i) for i, _ in enumerate(lists, 1)]


def chosen_folder(options: argparse.Namespace) -> Path | None:
    """Returns the folder of scores in a given --save_path.

    The default of --save_path may be the folder of another experiment.
    """
    given = "save_path" in getattr(options, "given", ())
    return Path(options.save_path, RESULTS) if given else None


def names_of_lists(options: argparse.Namespace) -> list[str]:
    """Returns a name for every list of trials: its file name without the extension.

    A number is appended to a name that occurs again.
    """
    stems = [Path(name).stem for name in lists_and_roots(options)[0]]
    if options.valid_clients:
        stems[0] = f"{Path(options.valid_clients).stem}_{Path(options.valid_impostors).stem}"
    names: list[str] = []
    for number, stem in enumerate(stems, 1):
        while stem in names:
            stem += f"_{number}"
        names.append(stem)
    return names


def stem_of(checkpoint: Path) -> str:
    """Returns the name of a checkpoint without its ending, or of a published folder."""
    return checkpoint.absolute().name if checkpoint.is_dir() else checkpoint.stem


def folder_of_scores(checkpoint: Path) -> Path:
    """Returns the folder for the scores of a checkpoint, which is in a run folder or not.

    The scores of a published folder are written next to it.
    """
    if checkpoint.is_dir():
        return checkpoint.absolute().parent
    folder = checkpoint.parent
    if not folder.name:
        # The checkpoint is in the current folder.
        folder = folder.absolute()
    in_run = folder.name == CHECKPOINTS and (folder.parent / CONFIG).exists()
    return folder.parent / RESULTS if in_run else checkpoint.parent


def check_results(
    paths: Sequence[Path],
    options: argparse.Namespace,
    parts: Sequence[str] = ("",),
    is_own: Callable[[bytes], bool] = is_scores,
) -> None:
    """Raises InputError if a result would overwrite an input, or a file of others.

    paths: of the results. parts: the ends of the names of the files of each result, see
    path_of_part(). is_own: says from the beginning of a file whether it is such a result.
    """
    inputs = input_files(vars(options), OUTPUTS)
    for path in paths:
        for part in parts:
            result = path_of_part(path, part)
            place = f"--output {result}" if options.output else str(result)
            kind = is_qualities if part == QUALITIES else is_own
            check_output(place, result, inputs, kind)
    if not is_special(paths[0]):
        require_writable(paths[0].parent)


def require_writable(folder: Path) -> None:
    """Makes a folder for scores. Raises InputError if no file can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: the scores cannot be written to this folder ({error.strerror}). Choose "
            "another place with --output FILE."
        ) from None
