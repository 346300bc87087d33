"""--publish: a network as a folder in the layout of the hubs for models.

The folder is written next to its place first, and loaded again. Its embeddings must equal the
embeddings of the checkpoint bit for bit.
"""

import argparse
import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

import distributed
from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.outputs import input_files, is_same_file
from common.run_paths import CONFIG
from common.writing import write_atomically
from inference.backends import check_network
from inference.card_facts import (
    name_of,
    rows_of_network,
    rows_of_training,
    scores_of_network,
)
from inference.model_card import Card, card_text
from inference.networks import load_scorer
from inference.score_paths import OUTPUTS
from metrics import calibration
from metrics.backends import BackEnd, load_backend
from network.checkpoints import read_checkpoint
from network.classifier import class_axes
from network.components import build
from network.publication import (
    CARD,
    MODEL,
    THRESHOLD,
    Facts,
    changed_files,
    digest_of_file,
    facts_of_publication,
    finite,
    is_publication,
    model_bytes,
    published_options,
)
from network.safetensors_file import library, read_safetensors
from options.parser import parse
from options.run_options import names_from_checkpoint
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")
BACKEND = "backend.npz"
CALIBRATION = "calibration.json"
SHOWN_NAMES = 10


def run_publish(options: argparse.Namespace, state: dict | None) -> None:
    """Writes the network of --initial_model as a folder for a hub."""
    distributed.on_rank_zero(publish, options, state)


def publish(options: argparse.Namespace, state: dict | None) -> None:
    """Publishes a network. Raises InputError if the folder or an option cannot be used."""
    folder = Path(options.publish)
    check_folder(folder, options)
    library()
    options.device = "cpu"
    net = load_scorer(options, state).net.eval()
    state = state or {}
    left_out = classifier_to_leave_out(options, net, state)
    copies = copied_files(options, net)
    config = config_of(options, state, left_out)
    card = card_of(options, state, net, copies, folder.absolute().name)
    files = {
        CONFIG: yaml.safe_dump(config, sort_keys=False).encode(),
        CARD: card_text(card).encode(),
        **copies,
    }
    weights = {}
    for name, value in net.state_dict().items():
        if name.removeprefix("loss.") not in left_out or not name.startswith("loss."):
            weights[name] = value
    result = finite(state.get("result", {}))
    # config.yaml has the threshold, so that it can be edited.
    result.pop(THRESHOLD, None)
    facts = Facts(
        model=options.model,
        result=result,
        classes=state["classes"] if options.publish_classifier else {},
        left_out=left_out,
        files={name: digest_of_file(data) for name, data in files.items()},
    )
    files[MODEL] = model_bytes(weights, facts)
    with written_beside(folder, files) as part:
        require_same_network(part, net, config)
        # Somebody may have put files there in the meantime.
        check_folder(folder, options)
        move_files(part, folder, files)
    log_result(folder, files, card)


def log_result(folder: Path, files: Mapping[str, bytes], card: Card) -> None:
    """Prints what was written."""
    for name, data in sorted(files.items()):
        log.info("%-20s%12s bytes", name, f"{len(data):,}")
    log.info("The embeddings of a test signal equal the embeddings of the checkpoint bit for bit.")
    if not card.licence:
        log.warning(
            "warning: the model card says that no licence was chosen. Give --license TEXT, such as "
            "--license cc-by-4.0."
        )
    log.info("Wrote %s", folder)


# ---------------------------------------------------------------------- the folder
def check_folder(folder: Path, options: argparse.Namespace) -> None:
    """Raises InputError unless a folder is new, empty, or an earlier and unchanged publication.

    A folder that this command reads, such as --initial_model, is refused too.
    """
    place = f"--publish {folder}"
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{place}: expected a folder, found a file. Give another name.")
    for option, paths in input_files(vars(options), (*OUTPUTS, "publish")).items():
        for path in map(Path, paths):
            if is_same_file(path, folder) or is_same_file(path.parent, folder) and path.is_file():
                raise InputError(
                    f"{place}: expected another folder than {option} {path}, which this command "
                    "reads and does not overwrite. Give another folder."
                )
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return
    changed = names
    with contextlib.suppress(InputError):
        contents = read_safetensors(folder / MODEL)
        if is_publication(contents):
            changed = changed_files(folder, facts_of_publication(folder / MODEL, contents))
    if changed:
        shown = ", ".join(changed[:SHOWN_NAMES]) + (", ..." if len(changed) > SHOWN_NAMES else "")
        raise InputError(
            f"{place}: expected a new or empty folder, or an unchanged earlier publication, found "
            f"files that --publish did not write or that were changed: {shown}. Nothing is "
            "overwritten. Give another folder."
        )


@contextlib.contextmanager
def written_beside(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Context in which the files are in a new folder next to their place. It is removed again."""
    target = folder.absolute()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        for name, data in files.items():
            write_atomically(part / name, data)
        yield part
    except InputError as error:
        raise InputError(str(error).replace(str(part), str(folder))) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def move_files(part: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    """Moves files to the folder, the weights last, and removes other files of its publication."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name in sorted(files, key=lambda name: name == MODEL):
        os.replace(part / name, folder / name)


def require_same_network(folder: Path, net: SpeakerNet, config: Mapping[str, Any]) -> None:
    """Raises InputError unless a published folder makes the same embeddings bit for bit.

    net: the network that was published. config: what its config.yaml should contain.
    """
    words = ["--publish", str(folder), "--initial_model", str(folder), "--device", "cpu"]
    options, state = parse(words, {}, "", read_checkpoint)
    again = load_scorer(options, state).net.eval()
    x = test_signal(net)
    with torch.inference_mode():
        is_equal = torch.equal(net.model(x), again.model(x))
    stored = {name: value for name, value in config.items() if name != THRESHOLD}
    if not is_equal or (state or {})["options"] != stored:
        raise InputError(
            f"{folder}: expected the embeddings and options of the checkpoint from the published "
            "network, found others. Nothing was written. Please report this with the checkpoint."
        )


def test_signal(net: SpeakerNet) -> torch.Tensor:
    """Returns two inputs of a network, always the same noise."""
    generator = torch.Generator().manual_seed(0)
    width = 2 * SAMPLE_RATE if net.model.takes == "waves" else net.model.dim
    return 0.1 * torch.randn(2, width, generator=generator)


# ---------------------------------------------------------------------- contents
def classifier_to_leave_out(
    options: argparse.Namespace, net: SpeakerNet, state: Mapping[str, Any]
) -> list[str]:
    """Returns the weights of the loss that have a row for each speaker, unless they are published.

    Raises InputError if --publish_classifier is impossible.
    """

    def make_loss(size: int) -> torch.nn.Module:
        return build("trainfunc", options, dim=net.model.dim, num_classes=size)

    names = list(class_axes(make_loss))
    if not options.publish_classifier:
        return names
    if not names:
        log.warning(
            "warning: --publish_classifier has no effect with --trainfunc %s, which has no "
            "classifier.",
            options.trainfunc,
        )
        options.publish_classifier = False
    elif not state.get("classes") or state.get("left_out"):
        raise InputError(
            f"--publish_classifier: expected a checkpoint with a classifier and the names of its "
            f"speakers, found {options.initial_model} without them. Leave out "
            "--publish_classifier, or give the checkpoint of a run."
        )
    return []


def copied_files(options: argparse.Namespace, net: SpeakerNet) -> dict[str, bytes]:
    """Returns the files of --backend and --calibration. They name their lists without folders.

    Raises InputError if they cannot be read, or belong to another network.
    """
    files = {}
    if options.backend:
        backend = backend_without_folder(options.backend)
        check_network(backend, net.model, f"--backend {options.backend}")
        with tempfile.TemporaryDirectory() as folder:
            backend.save(Path(folder, BACKEND))
            files[BACKEND] = Path(folder, BACKEND).read_bytes()
    if options.calibration:
        found = calibration.load_calibration(options.calibration)
        names = [name_of(path) for path in found.trained_on]
        files[CALIBRATION] = calibration.to_bytes(found._replace(trained_on=names))
    return files


def backend_without_folder(path: str) -> BackEnd:
    """Reads a back end. The name of the list that it was estimated from gets no folder."""
    backend = load_backend(path)
    return dataclasses.replace(backend, source=name_of(backend.source))


def config_of(
    options: argparse.Namespace, state: Mapping[str, Any], left_out: list[str]
) -> dict[str, Any]:
    """Returns the contents of config.yaml: the network, its evaluation and its training."""
    values = {**state.get("options", {})}
    for name in ("model", "trainfunc", *names_from_checkpoint(vars(options), using=True)):
        values[name] = getattr(options, name)
    config = published_options(values)
    if left_out:
        # The number of rows of a classifier that is not published.
        config.pop("nClasses", None)
    threshold = stored_threshold(state)
    if options.threshold is not None and not options.backend:
        threshold = options.threshold
    if threshold is not None:
        config[THRESHOLD] = float(threshold)
    return config


def threshold_of(options: argparse.Namespace, state: Mapping[str, Any]) -> float | None:
    """Returns the threshold of the decision: --threshold, or the one in the checkpoint.

    The threshold in the checkpoint belongs to scores without a back end.
    """
    if options.threshold is not None:
        return float(options.threshold)
    return None if options.backend else stored_threshold(state)


def stored_threshold(state: Mapping[str, Any]) -> float | None:
    """Returns the threshold of the last evaluation in a checkpoint, None without a finite one."""
    return finite(state.get("result", {})).get(THRESHOLD)


def card_of(
    options: argparse.Namespace,
    state: Mapping[str, Any],
    net: SpeakerNet,
    copies: Mapping[str, bytes],
    name: str,
) -> Card:
    """Returns what the model card says. copies: further files. name: of the folder."""
    intro = (
        f"This network turns a recording of speech into an embedding, a vector of {net.model.dim} "
        "numbers. Embeddings of one speaker are similar, so that two recordings can be compared."
    )
    if net.model.takes != "waves":
        intro = "This network enhances embeddings of speakers, which another network has computed."
    files = {
        MODEL: "the weights of the network, without code",
        CONFIG: "its options, and the threshold of the decision",
    }
    if BACKEND in copies:
        files[BACKEND] = f"a back end for the embeddings: {backend_without_folder(options.backend)}"
    if CALIBRATION in copies:
        files[CALIBRATION] = "a calibration: from scores to log-likelihood ratios"
    train_list = name_of(state.get("options", {}).get("train_list"))
    return Card(
        name=name,
        model=options.model,
        intro=intro,
        network=rows_of_network(options, net),
        training=rows_of_training(state, Path(options.initial_model)),
        scores=scores_of_network(options, state),
        datasets=options.card_datasets or ([Path(train_list).stem] if train_list else []),
        licence=options.license or "",
        threshold=threshold_of(options, state),
        files=files,
    )
