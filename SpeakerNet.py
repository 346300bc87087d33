"""SpeakerNet: everything that is learned, a model and a loss. Trainer: updates of its weights.

Nothing here depends on the chosen model, loss or corpus. A model and a loss meet through `pair`.
Everything that varies per item or per step is in the batch. The contracts are in models/__init__.py
and loss/__init__.py. inference/scorer.py scores trials.
"""

import contextlib
import copy
import gc
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

import distributed
from common.errors import InputError
from corpus.augment import mixed
from loss import Loss, with_real
from models import SpeakerModel
from network.devices import allow_tf32, make_autocast, require_compiler
from network.parameter_groups import Freezing
from optimizer._skip import NonFiniteLoss, average_unless, step_unless

# On a GPU, losses are read back after this number of updates, because reading waits for the GPU.
UPDATES_PER_SYNC = 20
# Attributes of a Trainer that a checkpoint stores.
PROGRESS = ("step", "epoch", "position", "counted", "totals", "skipped")
# Entries of a batch that are not gathered from all processes.
LOCAL_ENTRIES = ("x", "step", "epoch", "real")


class SpeakerNet(nn.Module):
    """A model (waves to representations) and a loss (representations to a scalar, and similarity).

    gather: if true, the loss sees the batches of all processes, the same in each process.
    """

    def __init__(self, model: SpeakerModel, loss: Loss):
        super().__init__()
        self.model = model
        self.loss = loss
        self.gather = False

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """Computes the loss of a batch with x [B, M, T] and the entries named in loss/__init__.py.

        Returns a dict with `loss` (scalar) and the loss's named terms.
        """
        x = batch["x"]
        # rep [B, M, ...]
        rep = self.model(x.flatten(0, 1)).float().unflatten(0, x.shape[:2])
        if self.gather:
            rep = distributed.gather_rows(rep)
            batch = with_real(gathered_batch(batch))
        # Logits and margins are computed in full precision.
        with torch.autocast(x.device.type, enabled=False):
            return self.loss(rep, batch, self.model.pair)


def gathered_batch(batch: dict) -> dict:
    """Returns the entries of the batches of all processes, except for LOCAL_ENTRIES."""
    gathered = {}
    for name, value in batch.items():
        gathered[name] = value if name in LOCAL_ENTRIES else distributed.gather_rows(value)
    return gathered


class Update(NamedTuple):
    """An update whose losses have not been read back from the device.

    index: rows of the train list in each of its batches. terms: on the device, first whether the
    update was skipped, then the values of `names`.
    """

    step: int
    lr: float
    index: list[torch.Tensor]
    names: list[str]
    terms: torch.Tensor


class Trainer:
    """Trains one net on one device, and holds the state that an exact resume needs.

    mixedprec: autocast to bfloat16 where the device has it, else to float16 with a loss scaler.
    accumulate: number of batches per update. clip: largest norm of the gradient, 0 for no limit.
    skip_nonfinite: number of updates with a non-finite loss that are skipped before NonFiniteLoss
    is raised. tf32: allow TF32 matrix products on GPUs, in training only. ema: decay of an
    exponential moving average of weights and batch statistics, 0 for none. steps_per_epoch: number
    of updates, for losses that change from epoch to epoch.

    net: the net that is trained. eval_net: the net that is evaluated and saved: the moving average,
    or `net` itself if there is no average. freezing: of groups of parameters in the first epochs.
    step: number of updates so far. epoch: the current epoch, from 1. position: number of its
    batches that are done. totals: sums of the loss's terms over the `counted` batches of the epoch,
    up to the last sync(). terms: the terms of the last update that was read back. skipped: number
    of skipped updates. bad_since: the step since which all updates were skipped, None if the last
    one was not.
    """

    def __init__(
        self,
        net: SpeakerNet,
        optimizer=None,
        scheduler=None,
        *,
        device: torch.device | str = "cpu",
        mixedprec: bool = False,
        accumulate: int = 1,
        clip: float = 0.0,
        skip_nonfinite: float = 0,
        tf32: bool = True,
        ema: float = 0.0,
        steps_per_epoch: int = 1,
    ):
        self.device = torch.device(device)
        self.net = net.to(self.device, memory_format=torch.channels_last)
        # The net that computes updates: the same weights, but see distribute().
        self.training_net: nn.Module = self.net
        self.ema = ema
        self.eval_net = copy.deepcopy(self.net) if ema else self.net
        self.freezing = Freezing(self.net)
        self.compiled = False
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.accumulate = accumulate
        self.clip = clip
        self.skip_nonfinite = skip_nonfinite
        self.steps_per_epoch = steps_per_epoch
        self.tf32 = tf32
        self.autocast = make_autocast(self.device, mixedprec)
        float16 = self.autocast.fast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=mixedprec and float16)
        self.step = 0
        self.epoch = 1
        self.position = 0
        self.counted = 0
        self.totals: dict[str, float] = {}
        self.skipped = 0
        self.bad_since: int | None = None
        self.pending: list[Update] = []
        self.terms: dict[str, float] = {}
        self.updates_per_sync = 1 if self.device.type == "cpu" else UPDATES_PER_SYNC

    # ------------------------------------------------------------------ set-up
    def distribute(self, gather: bool = False, sync_batchnorm: bool = False) -> None:
        """Makes all processes share every later update: gradients are averaged over them.

        gather: see SpeakerNet. sync_batchnorm: also compute batch statistics over all processes.
        Raises InputError for sync_batchnorm without GPUs, because the layer of torch needs them.
        """
        if sync_batchnorm and self.device.type != "cuda":
            raise InputError("--sync_batchnorm works on GPUs only. Leave it out.")
        if distributed.world_size() == 1:
            return
        if sync_batchnorm:
            nn.SyncBatchNorm.convert_sync_batchnorm(self.net)
        self.net.gather = gather
        self.eval_net.gather = gather
        self._share_gradients()

    def _share_gradients(self) -> None:
        """Makes the net that averages the gradients of all parameters that have one now."""
        if distributed.world_size() > 1:
            # The one of before has a copy of all gradients, and is part of a reference cycle.
            self.training_net = self.net
            gc.collect()
            self.training_net = nn.parallel.DistributedDataParallel(self.net)

    def compile(self) -> None:
        """Compiles the model for training with torch.compile.

        Evaluation, in which lengths vary, runs uncompiled. Raises InputError without a compiler.
        """
        require_compiler(self.device)
        self.net.model.compile(dynamic=False)
        self.compiled = True

    def start_average(self) -> None:
        """Starts the moving average, if there is one, from the current weights."""
        self.eval_net.load_state_dict(self.net.state_dict())

    # ------------------------------------------------------------------ training
    def train_epoch(self, batches: Iterable[dict]) -> Iterator[dict[str, float]]:
        """Trains on the batches that are left of the epoch.

        Yields the named terms of the last update that was read back, {} if it was skipped. The
        caller may stop after any update, save, and resume from there.
        """
        if self.freezing.begin_epoch(self.epoch):
            if self.compiled:
                # torch.compile does not notice which parameters have a gradient.
                torch.compiler.reset()
            self._share_gradients()
        batches = iter(batches)
        while group := list(itertools.islice(batches, self.accumulate)):
            # The caller may have evaluated in between.
            self.freezing.train()
            self._update(group)
            self.position += len(group)
            if len(self.pending) >= self.updates_per_sync:
                self.sync()
            yield self.terms
        self.sync()

    def sync(self) -> dict[str, float]:
        """Reads the losses of the pending updates back from the device and counts them.

        Returns the named terms of the last update. Raises NonFiniteLoss if too many were skipped.
        """
        rows = []
        if self.pending:
            rows = torch.stack([update.terms for update in self.pending]).tolist()
        for update, (bad, *values) in zip(self.pending, rows, strict=True):
            self._count(update, bool(bad), values)
            if self.skipped > self.skip_nonfinite:
                index = distributed.gather(torch.cat(update.index).tolist())
                raise NonFiniteLoss(update.step, sum(index or [], []))
        self.pending.clear()
        return self.terms

    def _count(self, update: Update, bad: bool, values: list[float]) -> None:
        """Adds the terms of one update to the totals of the epoch, or counts it as skipped."""
        if bad:
            self.terms = {}
            self.skipped += 1
            self.bad_since = update.step if self.bad_since is None else self.bad_since
            return
        self.bad_since = None
        self.terms = {"lr": update.lr}
        self.terms |= dict(zip(update.names, values, strict=True))
        number_of_batches = len(update.index)
        self.counted += number_of_batches
        for name, value in self.terms.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * number_of_batches

    def means(self) -> dict[str, float]:
        """Returns the mean of every named term over the batches of this epoch so far."""
        self.sync()
        return {name: value / self.counted for name, value in self.totals.items()}

    def follow(self, results: dict[str, float]) -> None:
        """Passes the results of an evaluation to a scheduler that follows them."""
        if hasattr(self.scheduler, "watch"):
            self.scheduler.watch(results)

    def next_epoch(self, results: dict[str, float]) -> None:
        """Starts the next epoch. results: the log line of the epoch that has ended."""
        self.follow(results)
        self.epoch += 1
        self.position = 0
        self.counted = 0
        self.totals = {}

    def on_device(self, batch: dict) -> dict:
        """Returns a batch of a loader with its tensors on the device, and the current time."""
        moved = {}
        for name, value in with_real(batch).items():
            moved[name] = value.to(self.device, non_blocking=True)
        return moved | {"step": self.step, "epoch": self.step / self.steps_per_epoch}

    def _update(self, group: list[dict]) -> None:
        """Makes one update from a group of batches.

        Nothing here waits for the device. sync() reads back the numbers that the host needs.
        """
        buffers = list(self.net.buffers())
        buffers_before = [buffer.clone() for buffer in buffers] if self.skip_nonfinite else []
        lr = self.optimizer.param_groups[0]["lr"]
        index, sums = self._accumulate_gradients(group)
        terms = distributed.mean_over_ranks(torch.stack([*sums.values()]))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.clip or math.inf)
        bad = ~terms[[*sums].index("loss")].isfinite()
        if not self.scaler.is_enabled():
            # float16 gradients overflow now and then; then the loss scaler skips the update.
            bad = bad | ~norm.isfinite()
        step_unless(bad, self.optimizer, self.scaler, self.net.parameters())
        if buffers_before:
            for buffer, before in zip(buffers, buffers_before, strict=True):
                buffer.copy_(torch.where(bad, before, buffer))
        if self.ema:
            decay = min(self.ema, (1 + self.step) / (10 + self.step))
            average_unless(bad | ~norm.isfinite(), self.eval_net, self.net, decay)
        values = torch.cat([bad.double()[None], terms])
        self.pending.append(Update(self.step, lr, index, [*sums], values))
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.step += 1

    def _accumulate_gradients(self, group: list[dict]) -> tuple[list, dict[str, torch.Tensor]]:
        """Adds up the gradients of a group of batches.

        Returns the rows of the train list in each batch, and the named terms as means over the
        group, float64 on the device.
        """
        index = []
        sums: dict[str, torch.Tensor] = {}
        for number, loaded in enumerate(group, 1):
            # Noise is mixed in full precision.
            allow_tf32(False)
            batch = mixed(self.on_device(loaded))
            allow_tf32(self.tf32)
            with self.autocast, self._sync_gradients(number == len(group)):
                out = self.training_net(batch)
                loss = self.scaler.scale(out["loss"] / len(group))
            loss.backward()
            for name, value in out.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double() / len(group)
            index.append(batch["index"].flatten())
        return index, sums

    def _sync_gradients(self, sync: bool):
        """Context for a backward pass. sync: average the gradients over all processes in it."""
        if sync or self.training_net is self.net:
            return contextlib.nullcontext()
        return self.training_net.no_sync()

    # ------------------------------------------------------------------ validation
    @torch.inference_mode()
    def validate(self, batches: Iterable[dict]) -> dict[str, float]:
        """Returns the mean of every named term over the groups of the batches, in eval mode.

        The random numbers of training are not disturbed. Each process reads its own batches.
        """
        prepare_for_inference(self.eval_net)
        totals: dict[str, torch.Tensor] = {}
        count = 0
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for batch in batches:
                groups = len(batch["label"])
                with self.autocast:
                    out = self.eval_net(self.on_device(batch))
                for name, value in out.items():
                    totals[name] = totals.get(name, 0.0) + value.double() * groups
                count += groups
        return distributed.means_of_sums(count, {name: x.item() for name, x in totals.items()})

    # ------------------------------------------------------------------ state
    def state(self) -> dict:
        """Returns everything that the rest of the run depends on: tensors and plain values."""
        self.sync()
        state = {
            "model": self.eval_net.model.state_dict(),
            "loss": self.eval_net.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": distributed.gather(self._rng_states()),
        }
        if self.ema:
            state["trained"] = self.net.state_dict()
        for name in PROGRESS:
            state[name] = getattr(self, name)
        return state

    def resume(self, state: dict) -> None:
        """Continues exactly where `state()` was called. The weights must have been loaded before.

        A run with an average continues from the trained weights. A new average starts here.
        """
        if "trained" in state:
            self.net.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        for name in PROGRESS:
            setattr(self, name, state[name])
        # With more processes than before, the new ones keep the random state of their seed.
        if distributed.rank() < len(state["rng"]):
            cpu, cuda = state["rng"][distributed.rank()]
            torch.set_rng_state(cpu)
            if self.device.type == "cuda" and cuda is not None:
                torch.cuda.set_rng_state(cuda)

    def _rng_states(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the states of torch's random generators, of the CPU and of the GPU."""
        cuda = torch.cuda.get_rng_state() if self.device.type == "cuda" else None
        return torch.get_rng_state(), cuda


def prepare_for_inference(net: SpeakerNet) -> None:
    """Puts a net into eval mode, with full precision and the batch statistics of rank 0.

    Checkpoints hold the batch statistics of rank 0.
    """
    net.eval()
    allow_tf32(False)
    distributed.broadcast(net.buffers())
