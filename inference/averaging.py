"""The mean of the weights of several checkpoints of one run (Izmailov et al., "Averaging weights leads to wider optima", arXiv:1803.05407)."""

from pathlib import Path

from common.errors import InputError
from network.checkpoints import read_checkpoint
from options.plugins import options_of_network

# of the checkpoints that a run keeps
NUMBERED = "model?????????.model"


def checkpoints_of(places):
    """Files, and folders of runs, which stand for their numbered checkpoints in order -> all files. InputError unless there are two at least."""
    files = []
    for place in map(Path, places):
        files += sorted((place / "model").glob(NUMBERED)) if place.is_dir() else [place]
    if len(files) < 2:
        raise InputError(
            f"--average: want two checkpoints or more, got {', '.join(map(str, files)) or 'none'}; name files, or the folder of a run that was "
            "trained with --keep 2 or more"
        )
    return files


def average(files):
    """Paths -> a checkpoint for use or fine-tuning: means of all floats, batch statistics too; integers, options and classes are the last one's.
    InputError unless all are of one network and of the same speakers."""
    sums, first = {}, None
    for path in files:
        state = read_checkpoint(path)
        first = first or state
        refuse_others(path, state, files[0], first)
        for part in ("model", "loss"):
            for name, value in state[part].items():
                before = sums.get((part, name), 0)
                sums[part, name] = before + value.double() if value.is_floating_point() else value
    means = {
        part: {
            name: (sums[part, name] / len(files)).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in state[part].items()
        }
        for part in ("model", "loss")
    }
    return means | {"options": state["options"], "classes": state["classes"]}


def refuse_others(path, state, first_path, first):
    """InputError naming the first difference between what two checkpoints are of."""
    for name, one in ((path, state), (first_path, first)):
        if "options" not in one:
            raise InputError(
                f"{name}: want a checkpoint of a run, got published weights without options; average those of one run"
            )
    network = options_of_network(first["options"])
    names = ("model", "trainfunc", *(option.name for option in network))
    differences = [
        f"--{name} {state['options'].get(name)}, that one --{name} {first['options'].get(name)}"
        for name in names
        if state["options"].get(name) != first["options"].get(name)
    ]
    if state["classes"] != first["classes"]:
        differences.append(
            f"{len(state['classes'])} speakers, that one {len(first['classes'])} or others"
        )
    for part in ("model", "loss"):
        mine, others = (
            {name: list(value.shape) for name, value in one[part].items()} for one in (state, first)
        )
        differences += [
            f"{part}.{name} {mine.get(name, 'missing')}, that one {others.get(name, 'missing')}"
            for name in {**mine, **others}
            if mine.get(name) != others.get(name)
        ]
    if differences:
        raise InputError(
            f"{path}: is of another network than {first_path}: it has {differences[0]}; average checkpoints of one run"
        )
