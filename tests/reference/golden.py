"""Deterministic weights and fixture reader for the numeric parity fixtures.

No weights are stored in the fixtures.  A parameter's value depends only on its
name and its shape, so a re-implementation that uses the reference's parameter
names can rebuild exactly the same network:

    import golden
    for case in golden.load_cases("tests/reference/model_clova_resnetse34l.npz"):
        net = MyModel(**case.hparams["init"])
        golden.apply(net, skip=case.skipped)         # same weights as the reference
        golden.check_state(net, case.state)          # names, shapes, dtypes, sums
        net.eval()
        wave = golden.wave(case)                     # float32 torch-ready ndarray
        ...compare with case.arrays["embedding"]...

Only numpy is needed; torch is used when an nn.Module or tensors are handed in.
"""

import json
import zlib

import numpy as np


# --------------------------------------------------------------------------
# the fill
# --------------------------------------------------------------------------
def fill(name, shape, dtype="float32"):
    """Value of the parameter or buffer called `name`, as an ndarray.

    Every name has its own generator, seeded by the CRC-32 of the name, and one
    single draw of the whole shape in C order.  The draw is made in float64 and
    cast at the end.  The first rule that matches wins:

      1. *running_var          uniform(0.5, 1.5)
      2. *running_mean         0.1 * normal
      3. *num_batches_tracked  0
      4. *bias                 0.1 * normal
      5. two or more axes      normal / sqrt(prod(shape[1:]))
      6. *weight (0 or 1 axis) uniform(0.5, 1.5)        (scale of a norm layer)

    Anything else (a scalar such as the `w` and `b` of a metric loss) has no
    rule and raises KeyError: it keeps the reference's own initial value and
    must be named in `skip`.
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

    `skip` holds exact names that keep their present values (front-end
    constants, scalar loss parameters).  Returns the list of filled names.
    A dict may map names to tensors or to ndarrays.
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
            # a torch tensor sharing memory with the module
            import torch

            with torch.no_grad():
                value.copy_(torch.from_numpy(new))
        filled.append(name)
    return filled


def describe(target, skip=()):
    """State entries as stored in `state_json` (after `apply`): a list of
    {name, shape, dtype, filled, sum}.  `sum` is the float64 sum of the entry."""
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
    """Raise AssertionError where names, shapes, dtypes or sums differ from
    `state_json`.  The order of the names is not compared."""
    have = {e["name"]: e for e in describe(target)}
    want = {e["name"]: e for e in entries}
    missing, extra = sorted(set(want) - set(have)), sorted(set(have) - set(want))
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

    name     the case's name
    hparams  dict: constructor arguments under "init", the rest is per fixture
    state    state entries of the filled reference module ([] when it has none)
    skipped  names that were not filled
    arrays   the arrays of this case (reference outputs, and values of skipped
             entries as "skipped:<name>")
    inputs   the arrays common to all the cases of the file
    info     where the numbers come from
    """

    def __init__(self, name, hparams, state, skipped, arrays, inputs, info):
        self.name, self.hparams, self.state, self.skipped = name, hparams, state, skipped
        self.arrays, self.inputs, self.info = arrays, inputs, info

    def __repr__(self):
        return "Case({}: {})".format(self.name, ", ".join(sorted(self.arrays)))


def load_cases(path):
    """All the cases of one fixture file, in their stored order."""
    with np.load(path, allow_pickle=False) as z:
        data = {k: z[k] for k in z.files}
    meta = {
        k: json.loads(str(data.pop(k + "_json")))
        for k in ("cases", "hparams", "state", "skipped", "info")
    }
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
    """Input waveform of a case as float32: int16 samples times hparams["wave_scale"]."""
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
    return value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
