"""Checkpoint files: writing ours, reading ours and published ones without running code from them, and fitting weights into a network."""

import io
import pickle
import re
import types

import torch

from common.errors import InputError
from common.writing import write_atomically

# in published names
PREFIXES, LOSS = (
    re.compile(r"^(__[SL]__\.|module\.|model\.|encoder\.|loss_fun\.)+"),
    re.compile(r"^(module\.)?(__L__|loss_fun)\."),
)


def write_checkpoint(state, *paths):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    for path in paths:
        write_atomically(path, buffer.getbuffer())


class Inert:
    """Stands for whatever a published checkpoint holds beside tensors; made, called and filled without effect."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return self

    def __setstate__(self, _):
        pass

    def __setitem__(self, _, __):
        pass

    append = extend = update = __call__


class Weights(pickle.Unpickler):
    """Makes tensors and dicts; any other class or function that a file names becomes Inert, so that no code of the file runs."""

    TRUSTED = {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    }

    def find_class(self, module, name):
        return super().find_class(module, name) if (module, name) in self.TRUSTED else Inert


# what torch.load uses of the module pickle
inert_pickle = types.ModuleType("inert_pickle")
inert_pickle.Unpickler, inert_pickle.load = (
    Weights,
    lambda file, **settings: Weights(file, **settings).load(),
)


def read_checkpoint(path):
    """A checkpoint of ours, or published weights -> dict with `model` and `loss` (name -> tensor) at least. Runs no code from the file.

    Published layouts: a bare state dict, or one under `model_state_dict`, `state_dict` or `model`, whatever lies beside it; its names may have the
    prefixes `__S__.` (model), `__L__.` (loss), `module.` or `model.`, or those of MFA-Conformer's Lightning module, `encoder.` and `loss_fun.`.
    """
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            state = torch.load(
                path, map_location="cpu", weights_only=False, pickle_module=inert_pickle
            )
        else:
            if "options" in state:
                return state
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint") from None
    except Exception as error:
        # what a torn or strange file leads to is anybody's guess
        raise InputError(
            f"{path}: cannot be read as a checkpoint: it is truncated or of another kind; copy it again or take another one"
        ) from error
    for key in ("model_state_dict", "state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else {}
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise InputError(
            f"{path}: want a checkpoint, got a file that holds no dict of tensors (code in it was not run)"
        )
    weights = {"model": {}, "loss": {}}
    for name, value in state.items():
        part = "loss" if LOSS.match(name) else "model"
        weights[part][PREFIXES.sub("", name)] = value.detach()
    return weights


def with_head_for(classes, state, net):
    """-> a checkpoint whose classifier has what it learned of the speakers of `classes` {speaker: number} alone, in their order, for a net of so many;
    the checkpoint itself where it does not know all of them, or knows no others."""
    known = state.get("classes", {})
    if len(known) <= len(classes) or not classes.keys() <= known.keys():
        return state
    size = state["options"].get("nClasses") or max(known.values()) + 1
    rows = torch.tensor([known[name] for name in sorted(classes, key=classes.get)])

    def taken(value, want):
        for axis, (here, there) in enumerate(zip(value.shape, want.shape, strict=False)):
            # vectors of a speaker
            each = here // size
            if here != there and (here, there) == (each * size, each * len(rows)):
                value = (
                    value.unflatten(axis, (size, each))
                    .index_select(axis, rows)
                    .flatten(axis, axis + 1)
                )
        return value

    wants = net.loss.state_dict()
    return state | {
        "loss": {
            name: taken(value, wants.get(name, value)) for name, value in state["loss"].items()
        }
    }


def load_weights(net, state, path, partial=False, head="required"):
    """Copies the weights of a checkpoint that was read from `path` into a SpeakerNet, all or nothing.

    The model's `old_names` and `unused` (models/__init__.py) are the only mapping. Missing, unexpected and misshaped names are an InputError that
    lists them. With `partial` what fits is taken and the list of what does not is returned; if nothing fits, an InputError. head: the loss's
    weights are wanted like all others; "optional": they are taken as far as they fit, as with partial; "unused".
    """
    given = {f"loss.{name}": value for name, value in state["loss"].items()}
    for name, value in state["model"].items():
        name = net.model.new_name(name)
        if name:
            given[name if name.startswith("loss.") else f"model.{name}"] = value
    want = net.state_dict()
    if head == "unused":
        given, want = (
            {name: value for name, value in side.items() if not name.startswith("loss.")}
            for side in (given, want)
        )
    fits = {
        name: value
        for name, value in given.items()
        if name in want and value.shape == want[name].shape
    }
    problems = [(name, f"missing: {name}") for name in want if name not in given]
    problems += [(name, f"unexpected: {name}") for name in given if name not in want]
    problems += [
        (name, f"misshaped: {name}, {list(value.shape)} in the file, {list(want[name].shape)} here")
        for name, value in given.items()
        if name in want and name not in fits
    ]
    # beginning of the names that need not fit
    tolerated = "" if partial else "loss." if head == "optional" else None
    lines = (
        [line for name, line in problems if tolerated is None or not name.startswith(tolerated)]
        if fits
        else [line for _, line in problems]
    )
    if lines:
        shown = "".join(f"\n  {line}" for line in lines[:10]) + (
            f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        )
        remedy = (
            "nothing in it fits"
            if partial
            else "give the options that it was trained with, or --partial to take what fits"
        )
        raise InputError(f"{path}: does not fit this network; {remedy}{shown}")
    net.load_state_dict(fits, strict=False)
    return [line for _, line in problems]
