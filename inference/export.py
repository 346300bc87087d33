"""--export: a network with its front end as one ONNX file.

onnxruntime runs the file without this program. Before the file is written, it is compared with
PyTorch.
"""

import copy
import importlib
import itertools
import logging
import warnings

import torch

from common.constants import SAMPLE_RATE
from common.errors import InputError
from models import SpeakerModel

# Version of the ONNX operators. STFT needs 17 or later.
OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Lengths and batch sizes of the comparison. None of the lengths equals the length of the example.
SECONDS = (0.5, 1.37, 4, 10)
BATCHES = (1, 3)
# Largest |difference| / |embedding| that is accepted.
TOLERANCE = 1e-4


def require_packages() -> None:
    """Raises InputError if a package that --export needs is not installed."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise InputError(
                f"--export needs {', '.join(PACKAGES)}, and {name} is not installed. Run: pip "
                "install -r requirements-optional.txt"
            ) from None


def to_onnx(model: SpeakerModel, facts: dict[str, str]) -> bytes:
    """Exports a model in eval mode as an ONNX file, for any batch size and length.

    The network maps `waves` [batch, samples] float32 at 16 kHz to `embeddings` [batch, D] float32.
    A model of embeddings maps `embeddings` to `enhanced`. facts: the metadata of the file.
    Raises ValueError for a pair-wise pooling.
    """
    if model.pairwise:
        raise ValueError(
            "the pooling of this model compares two utterances, so one file has no embedding. "
            "Export a model with another --encoder_type."
        )
    model = copy.deepcopy(model)
    # The last digits of sines differ between libraries, and RawNet3 amplifies the difference. So
    # its filters are stored in the file, and not computed from their parameters.
    model.freeze()
    takes_waves = model.takes == "waves"
    example = torch.zeros(2, 2 * SAMPLE_RATE if takes_waves else model.dim)
    dynamic_sizes = {0: torch.export.Dim.DYNAMIC}
    if takes_waves:
        dynamic_sizes[1] = torch.export.Dim.DYNAMIC
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        # These packages report every node, and packages that are not needed.
        logging.getLogger(name).setLevel(logging.ERROR)
    # With gradients, attention has a layout that fails if the sizes vary.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[model.takes],
            output_names=["embeddings" if takes_waves else "enhanced"],
            dynamic_shapes=(dynamic_sizes,),
            verbose=False,
        )
    return serialized(program.model_proto, facts)


def serialized(proto, facts: dict[str, str]) -> bytes:
    """Returns the bytes of an ONNX ModelProto, with `facts` as its only metadata."""
    # Imported here, because the package is optional.
    import onnx

    graph = proto.graph
    parts = (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, proto)
    for part in parts:
        # The exporter stores which line of which source file each part comes from.
        part.ClearField("metadata_props")
    onnx.helper.set_model_props(proto, facts)
    return proto.SerializeToString()


@torch.no_grad()
def largest_difference(model: SpeakerModel, data: bytes) -> float:
    """Compares a model with its ONNX file `data` -> largest |difference| / |embedding|.

    The batches and lengths are not the ones of the export. The result is NaN if a number is NaN.
    """
    # Imported here, because the package is optional.
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    widths = [model.dim]
    if model.takes == "waves":
        widths = [int(seconds * SAMPLE_RATE) for seconds in SECONDS]
    differences = []
    for batch, width in itertools.product(BATCHES, widths):
        x = 0.1 * torch.randn(batch, width, generator=generator)
        expected = model(x)
        exported = torch.from_numpy(session.run(None, {model.takes: x.numpy()})[0])
        differences.append((exported - expected).norm(dim=1) / expected.norm(dim=1))
    return torch.cat(differences).max().item()
