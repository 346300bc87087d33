"""Deterministic weights and a reader for the fixtures with numbers of other implementations.

The fixtures contain no weights. The value of a parameter depends only on its name and its shape.
So a network with the parameter names of the reference gets exactly the same weights:

    import golden
    for case in golden.load_cases("tests/reference/model_clova_resnetse34l.npz"):
        net = MyModel(**case.hparams["init"])
        golden.apply(net, skip=case.skipped)         # same weights as the reference
        golden.check_state(net, case.state)          # names, shapes, dtypes, sums
        net.eval()
        wave = golden.wave(case)                     # float32 torch-ready ndarray
        ...compare with case.arrays["embedding"]...

Only numpy is needed. torch is imported if the caller passes an nn.Module or tensors.
"""

import json
import zlib

import numpy as np


# --------------------------------------------------------------------------
# the fill
# --------------------------------------------------------------------------
def fill(name, shape, dtype="float32"):
    """Compute the value of the parameter or buffer called `name`, as an ndarray.

    Every name has its own generator, whose seed is the CRC-32 of the name. The generator makes one
    draw of the whole shape in C order, in float64, which is cast at the end. The first matching
    rule is used:

      1. *running_var          uniform(0.5, 1.5)
      2. *running_mean         0.1 * normal
      3. *num_batches_tracked  0
      4. *bias                 0.1 * normal
      5. two or more axes      normal / sqrt(prod(shape[1:]))
      6. *weight (0 or 1 axis) uniform(0.5, 1.5), which is the scale of a norm layer

    Raises KeyError for any other name, such as the scalars `w` and `b` of a metric loss. Such a
    parameter keeps the initial value of the reference and must be named in `skip`.
    """
    shape = tuple(int(s) for s in shape)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        value = rng.standard_normal(shape) * 0.1
    elif name.endswith("num_batches_tracked"):
        value = np.zeros(shape)
    elif name.endswith("bias"):
        value = rng.standard_normal(shape) * 0.1
    elif len(shape) >= 2:
        value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        raise KeyError(f"no fill rule for {name!r} {shape!r}: keep its initial value")
    return np.asarray(value).astype(_np_dtype(dtype))


def apply(target, skip=()):
    """Fill every entry of an nn.Module or of a state dict, in place.

    `skip` contains the exact names of entries that keep their values, such as constants of a
    front end and scalar parameters of a loss. A dict may map names to tensors or to ndarrays.
    Returns the list of the filled names. Raises KeyError if a name in `skip` does not exist.
    """
    state = target.state_dict() if hasattr(target, "state_dict") else target
    skip = set(skip)
    unknown = skip - set(state)
    if unknown:
        raise KeyError(f"names to skip that do not exist: {sorted(unknown)}")
    filled = []
    for name, value in state.items():
        if name in skip:
            continue
        new = fill(name, tuple(value.shape), _dtype_name(value))
        if isinstance(value, np.ndarray):
            value[...] = new
        else:
            # A torch tensor shares its memory with the module.
            import torch

            with torch.no_grad():
                value.copy_(torch.from_numpy(new))
        filled.append(name)
    return filled


def describe(target, skip=()):
    """State entries as stored in `state_json` (after `apply`).

    Returns a list of {name, shape, dtype, filled, sum}. `sum` is the float64 sum of the entry.
    """
    state = target.state_dict() if hasattr(target, "state_dict") else target
    out = []
    for name, value in state.items():
        array = _to_numpy(value)
        out.append(
            {
                "name": name,
                "shape": [int(s) for s in array.shape],
                "dtype": str(array.dtype),
                "filled": name not in skip,
                "sum": float(f"{array.astype(np.float64).sum():.9g}"),
            }
        )
    return out


def check_state(target, entries, rtol=1e-6, atol=1e-5):
    """Compare the entries of a module or a state dict with `state_json`.

    Raises AssertionError if names, shapes, dtypes or sums differ. The order of names may differ.
    """
    have = {e["name"]: e for e in describe(target)}
    want = {e["name"]: e for e in entries}
    missing = sorted(set(want) - set(have))
    extra = sorted(set(have) - set(want))
    assert not missing and not extra, f"missing {missing}, unexpected {extra}"
    for name, e in want.items():
        h = have[name]
        assert h["shape"] == e["shape"], (name, h["shape"], e["shape"])
        assert h["dtype"] == e["dtype"], (name, h["dtype"], e["dtype"])
        assert np.isclose(h["sum"], e["sum"], rtol=rtol, atol=atol), (name, h["sum"], e["sum"])


# --------------------------------------------------------------------------
# reading fixtures
# --------------------------------------------------------------------------
class Case:
    """One case of a fixture file.

    name     name of the case
    hparams  dict: constructor arguments under "init", other entries depend on the fixture
    state    state entries of the filled reference module, [] without a module
    skipped  names that were not filled
    arrays   arrays of this case: outputs of the reference, and the values of skipped entries as
             "skipped:<name>"
    inputs   arrays that all cases of the file share
    info     source of the numbers
    """

    def __init__(self, name, hparams, state, skipped, arrays, inputs, info):
        self.name = name
        self.hparams = hparams
        self.state = state
        self.skipped = skipped
        self.arrays = arrays
        self.inputs = inputs
        self.info = info

    def __repr__(self):
        return "Case({}: {})".format(self.name, ", ".join(sorted(self.arrays)))


def load_cases(path):
    """Read all cases of a fixture file in their stored order."""
    with np.load(path, allow_pickle=False) as z:
        data = {k: z[k] for k in z.files}
    meta = {}
    for k in ("cases", "hparams", "state", "skipped", "info"):
        meta[k] = json.loads(str(data.pop(k + "_json")))
    inputs = {k: v for k, v in data.items() if "/" not in k}
    cases = []
    for name in meta["cases"]:
        arrays = {k.split("/", 1)[1]: v for k, v in data.items() if k.startswith(name + "/")}
        cases.append(
            Case(
                name,
                meta["hparams"].get(name, {}),
                meta["state"].get(name, []),
                meta["skipped"].get(name, []),
                arrays,
                inputs,
                meta["info"],
            )
        )
    return cases


def wave(case, key=None):
    """Return the input wave of a case as float32: int16 samples times hparams["wave_scale"]."""
    key = key or case.hparams.get("input", "wave")
    return case.inputs[key].astype(np.float32) * np.float32(case.hparams.get("wave_scale", 1.0))


# --------------------------------------------------------------------------
# small helpers
# --------------------------------------------------------------------------
def _np_dtype(dtype):
    return np.dtype(str(dtype).replace("torch.", ""))


def _dtype_name(value):
    return str(value.dtype).replace("torch.", "")


def _to_numpy(value):
    if isinstance(value, np.ndarray):
        return value
    return value.detach().cpu().numpy()
