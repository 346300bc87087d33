"""SpeakerNet: all that is learned, a model and a loss. Trainer: one update, extraction, scoring, checkpoints.

Nothing here knows which model, loss or corpus is in use: a model meets a loss through `pair`, a trial gets its score from
the loss's `similarity`, and everything that varies per item or per step travels in the batch. Contracts: models/__init__.py, loss/__init__.py.
"""
import contextlib
import copy
import itertools
import math
from typing import NamedTuple

import torch
from torch import nn

import parallel
from corpus import InputError
from corpus.augment import mixed
from loss import with_real
from training.checkpoints import load_weights

TRIALS_AT_ONCE, FILES_AT_ONCE = 1024, 64                                        # what is gathered or projected at a time stays in the cache
NUMBERS_AT_ONCE = 2**22                                                         # of the differences of two sets of embeddings
SETTLED_AT_ONCE = 20                                                            # updates that a GPU may be behind
SCORES_AT_ONCE = 2**24                                                          # of a matrix of files
PROGRESS = ("step", "epoch", "position", "counted", "totals", "skipped")        # of a Trainer


class SpeakerNet(nn.Module):
    """model: waves -> representations; loss: representations -> a number to minimise, and the similarity of two of them.

    gather: the loss is that of the batches of all processes together, the same in each of them.
    """

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss, self.gather = model, loss, False

    def forward(self, batch):
        """batch with x [B, M, T] and what loss/__init__.py names -> dict with `loss` (scalar) and the loss's named terms."""
        x = batch["x"]
        rep = self.model(x.flatten(0, 1)).float().unflatten(0, x.shape[:2])      # [B, M, ...]
        if self.gather:
            rep, batch = parallel.gathered(rep), {k: parallel.gathered(v) if k not in ("x", "step", "real") else v for k, v in batch.items()}
            batch = with_real(batch)
        with torch.autocast(x.device.type, enabled=False):                       # logits and margins in full precision
            return self.loss(rep, batch, self.model.pair)


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is NaN or infinite. index: rows of the train list in the batches of this update."""

    def __init__(self, step, index):
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step, self.index = step, index


class Update(NamedTuple):
    """One that is not settled. index: rows of the list in each of its batches. terms: on the device, whether it was left out, then those of `names`."""
    step: int
    lr: float
    index: list
    names: list
    terms: torch.Tensor


class Trainer:
    """One net on one device, and what must be saved to go on with it bit for bit.

    mixedprec: autocast to bfloat16 where the device has it, else float16 with a loss scaler. accumulate: batches an update. clip: largest norm
    of the gradient, 0 for none. skip_nonfinite: updates with a non-finite loss that are left out before NonFiniteLoss is raised. tf32: products of
    float32 numbers may be rounded so on GPUs, in training alone. ema: decay of an exponential moving average of weights and batch statistics, 0 for
    none. net: what is trained. used: what is evaluated, and what checkpoints hold as weights: the average or, without one, the net.
    step: updates so far. epoch: the one in progress, from 1. position: its batches that are done. totals: sums of the loss's terms over the
    `counted` ones of these, up to the last settle(). terms: those of the last update that was settled.
    """

    def __init__(self, net, optimizer=None, scheduler=None, *, device="cpu", mixedprec=False, accumulate=1, clip=0.0, skip_nonfinite=0,
                 tf32=True, ema=0.0):
        self.device = torch.device(device)
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.ema, self.used = ema, copy.deepcopy(self.net) if ema else self.net
        self.optimizer, self.scheduler = optimizer, scheduler
        self.accumulate, self.clip, self.skip_nonfinite, self.tf32 = accumulate, clip, skip_nonfinite, tf32
        half = self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self.autocast = torch.autocast(self.device.type, dtype=torch.float16 if half else torch.bfloat16, enabled=mixedprec)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=mixedprec and half)
        self.step, self.epoch, self.position, self.counted, self.totals, self.skipped = 0, 1, 0, 0, {}, 0
        self.unsettled, self.terms, self.settle_every = [], {}, 1 if self.device.type == "cpu" else SETTLED_AT_ONCE
        self.training_net = self.net                                             # the same weights; see share()

    # ------------------------------------------------------------------ training
    def share(self, gather=False, sync_batchnorm=False):
        """From now on every update is that of all processes (parallel/__init__.py): gradients are means over them. gather: see SpeakerNet.
        sync_batchnorm: batch statistics are of all processes too; InputError without GPUs, which torch's layer wants."""
        if sync_batchnorm and self.device.type != "cuda":
            raise InputError("--sync_batchnorm: works on GPUs alone; leave it out")
        if parallel.world() == 1:
            return
        if sync_batchnorm:
            nn.SyncBatchNorm.convert_sync_batchnorm(self.net)
        self.net.gather = self.used.gather = gather
        self.training_net = nn.parallel.DistributedDataParallel(self.net)

    def compile(self):
        """torch.compile of the model for training; InputError where that cannot work. Extraction, whose lengths vary, runs as written."""
        try:
            torch.compile(torch.neg)(torch.zeros(8, device=self.device))         # finds a missing compiler before the run begins
        except RuntimeError as error:
            raise InputError(f"--compile does not work here: {str(error).splitlines()[0]}; it wants a C++ compiler (g++) and Python's headers") from None
        self.net.model.compile(dynamic=False)

    def train_epoch(self, batches):
        """Goes through the rest of the epoch; yields the named terms (floats) of the last update that was settled, {} if it was left out. A caller
        that stops between two updates may save and go on later from there."""
        batches = iter(batches)
        while group := list(itertools.islice(batches, self.accumulate)):
            self.net.train()                                                     # the caller may have evaluated in between
            self._update(group)
            self.position += len(group)
            if len(self.unsettled) >= self.settle_every:
                self.settle()
            yield self.terms
        self.settle()

    def settle(self):
        """Waits for the device and counts the updates since the last time -> the named terms of the last one. NonFiniteLoss if too many were left out."""
        rows = torch.stack([update.terms for update in self.unsettled]).tolist() if self.unsettled else []
        for update, (bad, *values) in zip(self.unsettled, rows, strict=True):
            self.terms = {} if bad else {"lr": update.lr} | dict(zip(update.names, values, strict=True))
            for name, value in self.terms.items():
                self.totals[name] = self.totals.get(name, 0.0) + value * len(update.index)
            self.counted += 0 if bad else len(update.index)
            self.skipped += bool(bad)
            if self.skipped > self.skip_nonfinite:
                index = parallel.collect(torch.cat(update.index).tolist())
                raise NonFiniteLoss(update.step, sum(index or [], []))
        self.unsettled.clear()
        return self.terms

    def means(self):
        """Mean of every named term over the batches of this epoch so far."""
        self.settle()
        return {name: value / self.counted for name, value in self.totals.items()}

    @torch.inference_mode()
    def validate(self, batches):
        """Mean of every named term over the groups of these batches, in eval mode; the random numbers of training stay as they are. Several processes
        go through batches of their own."""
        self._ready()
        totals, count = {}, 0
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for batch in batches:
                groups = len(batch["label"])
                with self.autocast:
                    out = self.used(self.on_device(batch))
                for name, value in out.items():
                    totals[name] = totals.get(name, 0.0) + value.double() * groups
                count += groups
        parts = parallel.collect((count, {name: value.item() for name, value in totals.items()}))
        return parallel.first(lambda: mean_of(parts))

    def _ready(self):
        """For use, with the batch statistics of the first process, as checkpoints hold them."""
        self.used.eval()
        allow_tf32(False)
        parallel.from_first(self.used.buffers())

    def on_device(self, batch):
        """A batch of a loader, on the device."""
        return {k: v.to(self.device, non_blocking=True) for k, v in with_real(batch).items()} | {"step": self.step}

    def _alone(self, alone):
        """Context in which the next backward pass leaves gradients alone, or adds those of the other processes."""
        return self.training_net.no_sync() if alone and self.training_net is not self.net else contextlib.nullcontext()

    def watch(self, results):
        """results: named numbers, for a scheduler that follows them."""
        if hasattr(self.scheduler, "watch"):
            self.scheduler.watch(results)

    def next_epoch(self, results):
        """results: the line of the log of the epoch that is over."""
        self.watch(results)
        self.epoch, self.position, self.counted, self.totals = self.epoch + 1, 0, 0, {}

    def _update(self, group):
        """Nothing here waits for the device: what the host wants to know it is told by settle()."""
        kept = [b.clone() for b in self.net.buffers()] if self.skip_nonfinite else []    # batch statistics of before
        sums, lr = {}, self.optimizer.param_groups[0]["lr"]
        for number, loaded in enumerate(group, 1):
            allow_tf32(False)                                                    # noise is mixed in full precision
            batch = mixed(self.on_device(loaded))
            allow_tf32(self.tf32)
            with self.autocast, self._alone(number < len(group)):
                out = self.training_net(batch)
                loss = self.scaler.scale(out["loss"] / len(group))
            loss.backward()
            for name, value in out.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double() / len(group)
        terms = parallel.mean(torch.stack([*sums.values()]))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.clip or math.inf)
        bad = ~terms[[*sums].index("loss")].isfinite()
        if not self.scaler.is_enabled():                                         # float16 gradients overflow now and then, which the scaler sees to
            bad = bad | ~norm.isfinite()
        self._step_unless(bad)
        for buffer, old in zip(self.net.buffers(), kept, strict=bool(kept)):
            buffer.copy_(torch.where(bad, old, buffer))
        if self.ema:
            self._average_unless(bad | ~norm.isfinite())
        self.unsettled.append(Update(self.step, lr, [batch["index"].flatten() for batch in group], [*sums], torch.cat([bad.double()[None], terms])))
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.step += 1

    def _step_unless(self, bad):
        """An update of the weights; none where bad, a bool on the device, is true: fused optimizers see to that, what others change is put back."""
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        elif self.optimizer.defaults.get("fused"):
            self.optimizer.grad_scale, self.optimizer.found_inf = None, bad.float()
            self.optimizer.step()
        elif self.optimizer.state:
            changed = itertools.chain(self.net.parameters(), *(state.values() for state in self.optimizer.state.values()))
            changed = [x.detach() for x in changed if isinstance(x, torch.Tensor) and x.device == bad.device]
            kept = [x.clone() for x in changed]
            self.optimizer.step()
            for x, old in zip(changed, kept, strict=True):
                x.copy_(torch.where(bad, old, x))
        elif not bad:                                                            # waits, in the first update of a run
            self.optimizer.step()

    @torch.no_grad()
    def _average_unless(self, bad):
        """The average moves towards the net; while it is young by more, so that it forgets where training began: min(ema, (1 + n) / (10 + n)) in step n.
        Batch statistics are averaged like weights, which were trained with them; their counters are the net's."""
        part = torch.where(bad, 0.0, 1 - min(self.ema, (1 + self.step) / (10 + self.step)))
        for average, value in zip(self.used.state_dict().values(), self.net.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, part)
            else:
                average.copy_(value)

    # ------------------------------------------------------------------ use
    @torch.inference_mode()
    def extract(self, batches, dtype=torch.float32):
        """(file numbers [n], x [n, K, T]) -> (file numbers, representations [n, K, ...] of that type on the CPU), batch by batch."""
        self._ready()
        for index, x in batches:
            yield index, self._represent(x.flatten(0, 1)).to(dtype).unflatten(0, x.shape[:2])

    def _represent(self, x):
        """x [N, ...] -> representations [N, ...] on the CPU, by halves where the device's memory is too small for all; OutOfMemoryError if it is for one."""
        try:
            with self.autocast:
                return self.used.model.forward(x.to(self.device, non_blocking=True)).cpu()          # not a call, which may be compiled
        except torch.OutOfMemoryError:
            if len(x) == 1:
                raise
        return torch.cat([self._represent(half) for half in x.chunk(2)])                 # here, where what did not fit is free again

    @torch.inference_mode()
    def score(self, trials, reps, scoring="similarity", pairs_at_once=32):
        """One similarity per trial, higher = same speaker: the mean over all pairs of crops of what the loss's method `scoring` says of them.

        trials: Trials. reps: {file: representation [K, ...]}. pairs_at_once: trials in memory at a time with a
        pair-wise pooling -> float32 array [number of trials].
        """
        self.used.eval()
        model, loss = self.used.model, self.used.loss
        bank, enrol, test = self._bank(trials, reps)                                         # F of [K, ...], rows of it
        if self._linear(scoring):
            # an inner product: the mean over pairs of crops is the product of the means over crops
            bank = self._mean_projections(bank)                                              # [F, D]
            (left, enrol), (right, test) = (torch.unique(rows, return_inverse=True) for rows in (enrol, test))
            if len(left) * len(right) <= 64 * len(enrol):
                return self._products(bank[left], bank[right].T, enrol, test).cpu().numpy()
            enrol, test = left[enrol], right[test]
            def compare(r, q):
                return (r * q).sum(1)
        else:
            bank = torch.stack(bank).to(self.device)
            def one_trial(r, q):                                                             # [K, ...] each
                return getattr(loss, scoring)(*model.pair(r.float(), q.float())).mean()
            compare = torch.vmap(one_trial)
        at_once = pairs_at_once if model.pairwise else TRIALS_AT_ONCE
        scores = [compare(bank[e], bank[t]).cpu() for e, t in zip(enrol.split(at_once), test.split(at_once), strict=True)]
        return torch.cat(scores).numpy()

    @torch.inference_mode()
    def cohort_moments(self, trials, reps, cohort, scoring="similarity", top_n=None):
        """How the two sides of each trial score against a cohort: mean and standard deviation (of the population) of the top_n highest scores
        of each, or of all -> float32 arrays [number of trials, 2] both, enrolment and test.

        trials, reps, scoring: see score(). cohort [C, K, ...]: see references(). Of instance-wise models alone: with a pair-wise pooling every pair
        would be a pass through the network.
        """
        self.used.eval()
        bank, *sides = self._bank(trials, reps)
        used, place = torch.unique(torch.stack(sides, 1), return_inverse=True)               # each file once: similarities are symmetric
        moments = []
        for scores in self.matrix([bank[i] for i in used.tolist()], list(cohort), scoring):
            moments.append(torch.var_mean(scores.topk(top_n, sorted=False).values if top_n else scores, 1, correction=0))
        var, mean = (torch.cat(part)[place].cpu() for part in zip(*moments, strict=True))
        return mean.numpy(), var.sqrt().numpy()

    @torch.inference_mode()
    def matrix(self, left, right, scoring="similarity"):
        """Representations [K, ...] of L and of R files -> yields the scores of all pairs, some rows of the matrix [L, R] at a time, in their order.
        scoring: see score(). Of instance-wise models alone."""
        self.used.eval()
        if self._linear(scoring):
            rows, right = max(min(SCORES_AT_ONCE // len(right), 16 * FILES_AT_ONCE), 1), self._mean_projections(right).T                     # [D, R]
            def compare(files):
                return self._mean_projections(files) @ right                                 # [n, R]
        else:
            crops, dim = right[0].shape
            rows = max(FILES_AT_ONCE // crops, 1)
            right = torch.stack(right).to(self.device).split(max(NUMBERS_AT_ONCE // (rows * crops * crops * dim), 1))
            def compare(files):
                files = torch.stack(files).to(self.device).float()
                return torch.cat([self._mean_similarities(files, part.float(), scoring) for part in right], 1)
        for first in range(0, len(left), rows):
            yield compare(left[first:first + rows])

    @torch.inference_mode()
    def references(self, models, reps):
        """models: tuples of files -> the representation of each [n, K, ...]; those of several files are merged as those of an enrolment."""
        return torch.stack([self.used.model.merge(torch.stack([reps[name] for name in names])) for names in models])

    def _linear(self, scoring):
        return scoring == "similarity" and self.used.loss.linear and not self.used.model.pairwise

    def _mean_projections(self, reps):
        """F embeddings [K, D] -> [F, D], the mean over crops where similarities are measured."""
        parts = (torch.stack(reps[first:first + FILES_AT_ONCE]).to(self.device) for first in range(0, len(reps), FILES_AT_ONCE))
        return torch.cat([self.used.loss.project(part.float()).mean(1) for part in parts])

    def _products(self, left, right, rows, columns):
        """left [L, D], right [D, R] -> numbers [n] of their product, that stand in these rows [n] and columns [n]; some rows of it are made at a time."""
        found, size = torch.empty(len(rows), device=left.device), max(SCORES_AT_ONCE // right.shape[1], 1)
        for first in range(0, len(left), size):
            here = slice(None) if size >= len(left) else ((rows >= first) & (rows < first + size)).nonzero().squeeze(1)
            found[here] = (left[first:first + size] @ right)[rows[here] - first, columns[here]]
        return found

    def _mean_similarities(self, ref, qry, scoring):
        """Embeddings [R, K, D], [Q, K, D] -> [R, Q], the mean over all pairs of crops."""
        pairs = getattr(self.used.loss, scoring)(*self.used.model.pair(ref.flatten(0, 1), qry.flatten(0, 1)))                      # [Q * K, R * K]
        return pairs.unflatten(1, ref.shape[:2]).unflatten(0, qry.shape[:2]).mean((1, 3)).T

    @torch.inference_mode()
    def norms(self, trials, reps):
        """Length of the embedding of the two sides of each trial, the mean over crops -> float32 array [number of trials, 2], enrolment and test."""
        bank, *sides = self._bank(trials, reps)
        bank = torch.stack(bank).to(self.device)
        return bank.float().norm(dim=-1).mean(1)[torch.stack(sides, 1)].cpu().numpy()

    @torch.inference_mode()
    def bonafide(self, trials, reps):
        """What the loss says of the tested file of each trial, the mean over its crops, higher = rather real than spoofed speech
        -> float32 array [number of trials]; None where it has nothing to say."""
        self.used.eval()
        files = [self.used.loss.bonafide(reps[name].float().to(self.device)) for name in trials.files]
        return None if files[0] is None else torch.stack([file.mean() for file in files])[torch.from_numpy(trials.test)].cpu().numpy()

    def _bank(self, trials, reps):
        """-> all F representations of the trials [K, ...], padded with zeros to the longest, and which of them are each trial's two sides [n]."""
        row = {name: i for i, name in enumerate(reps)}
        bank = padded(list(reps.values()))
        merged = [self.used.model.merge(torch.stack([bank[row[name]] for name in names])) for names in trials.models if len(names) > 1]
        place = itertools.count(len(bank))
        enrol = torch.tensor([row[names[0]] if len(names) == 1 else next(place) for names in trials.models])
        test = torch.tensor([row[name] for name in trials.files])
        enrol, test = enrol[torch.from_numpy(trials.enrol)], test[torch.from_numpy(trials.test)]
        return padded(bank + merged), enrol.to(self.device), test.to(self.device)

    # ------------------------------------------------------------------ checkpoints
    def state(self):
        """Everything that the rest of the run depends on, as a dict of tensors and plain values."""
        self.settle()
        return {
            "model": self.used.model.state_dict(), "loss": self.used.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict(), "scaler": self.scaler.state_dict(),
            "rng": parallel.collect(self._rng()),
        } | ({"trained": self.net.state_dict()} if self.ema else {}) | {name: getattr(self, name) for name in PROGRESS}

    def load(self, state, path, *how):
        """load_weights() into the net, from which an average begins too."""
        left_out = load_weights(self.net, state, path, *how)
        self.used.load_state_dict(self.net.state_dict())
        return left_out

    def resume(self, state):
        """Goes on exactly where `state()` was taken, after load(). A run that has averaged so far goes on from the weights behind the average; one that begins
        to average does so here."""
        if "trained" in state:
            self.net.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        for name in PROGRESS:
            setattr(self, name, state[name])
        if parallel.rank() < len(state["rng"]):                                   # more processes than before go on as they were seeded
            cpu, cuda = state["rng"][parallel.rank()]
            torch.set_rng_state(cpu)
            if self.device.type == "cuda" and cuda is not None:
                torch.cuda.set_rng_state(cuda)

    def _rng(self):
        return torch.get_rng_state(), torch.cuda.get_rng_state() if self.device.type == "cuda" else None


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def mean_of(parts):
    """(count, {name: sum}) of every process -> {name: mean}."""
    count = sum(count for count, _ in parts)
    return {name: sum(sums.get(name, 0.0) for _, sums in parts) / count for name in parts[0][1]}


def padded(reps):
    """Representations [K, ...] -> the same with zeros at the end of the last axis, up to the longest; those as long as it are not copied."""
    longest = max(rep.shape[-1] for rep in reps)
    return [rep if rep.shape[-1] == longest else nn.functional.pad(rep, (0, longest - rep.shape[-1])) for rep in reps]
