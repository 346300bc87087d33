"""--export: a network with its front end as one ONNX file, checked against PyTorch before it is written, that onnxruntime runs without this program."""

import copy
import importlib
import itertools
import logging
import warnings

import torch

from common.constants import SAMPLE_RATE
from common.errors import InputError

# of ONNX operators; STFT wants 17
OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# of waves in the check; none of these lengths is the example's
SECONDS, BATCHES = (0.5, 1.37, 4, 10), (1, 3)
# largest |difference| / |embedding|
TOLERANCE = 1e-4


def require_packages():
    """InputError where something that --export needs is not installed."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise InputError(
                f"--export: wants {', '.join(PACKAGES)}, and {name} is not installed here: pip install -r requirements-optional.txt"
            ) from None


def to_onnx(model, facts):
    """A SpeakerModel in eval mode -> an ONNX file as bytes, for any batch and length: `waves` [batch, samples] float32 at 16 kHz -> `embeddings` [batch, D]
    float32; where embeddings go in, `embeddings` -> `enhanced`. facts: {name: string}, its metadata. ValueError for a pair-wise pooling."""
    # here: optional
    import onnx

    if model.pairwise:
        raise ValueError(
            "its pooling makes embeddings of two utterances together, not of one: there is no network from a file to an embedding; "
            "take a model with another --encoder_type"
        )
    model, waves = copy.deepcopy(model), model.takes == "waves"
    # sines of other libraries have other last digits, which RawNet3 amplifies
    model.freeze()
    example = torch.zeros(2, 2 * SAMPLE_RATE if waves else model.dim)
    sizes = {0: torch.export.Dim.DYNAMIC} | ({1: torch.export.Dim.DYNAMIC} if waves else {})
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        # they tell of every node and of packages that are not missed
        logging.getLogger(name).setLevel(logging.ERROR)
    # with gradients attention has a layout that fails where sizes vary
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[model.takes],
            output_names=["embeddings" if waves else "enhanced"],
            dynamic_shapes=(sizes,),
            verbose=False,
        )
    proto = program.model_proto
    for part in (
        *proto.graph.node,
        *proto.graph.value_info,
        *proto.graph.input,
        *proto.graph.output,
        proto.graph,
        proto,
    ):
        # where in which source file of this machine each comes from
        part.ClearField("metadata_props")
    onnx.helper.set_model_props(proto, facts)
    return proto.SerializeToString()


@torch.no_grad()
def difference(model, data):
    """Largest |difference| / |embedding| between a model and its ONNX file `data` (bytes), of batches and lengths other than those it was made with."""
    # here: optional
    import onnxruntime

    session, found = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]), []
    draw = torch.Generator().manual_seed(0)
    widths = (
        [int(seconds * SAMPLE_RATE) for seconds in SECONDS]
        if model.takes == "waves"
        else [model.dim]
    )
    for batch, width in itertools.product(BATCHES, widths):
        x = 0.1 * torch.randn(batch, width, generator=draw)
        want, got = model(x), torch.from_numpy(session.run(None, {model.takes: x.numpy()})[0])
        found.append((got - want).norm(dim=1) / want.norm(dim=1))
    # NaN where any is
    return torch.cat(found).max().item()
