"""The a-DCF of the trials in a batch, with sigmoids in the place of decisions.

The a-DCF (Shim et al., arXiv:2403.01355) is the cost of misses, accepted non-targets and accepted
spoofed speech at one threshold. With sigmoids it has a gradient (Kurnaz et al., arXiv:2407.04034).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.trial_kinds import TRIAL_KINDS
from loss import Batch, Loss, Pair, Terms, require_embeddings, require_pairs, require_speakers


@dataclass(frozen=True)
class AdcfSettings:
    """Options of the a-DCF.

    adcf_weight: weight of the a-DCF of the trials in a batch
    adcf_p_nontarget: prior probability of a non-target trial in the a-DCF
    adcf_p_spoof: prior probability of a spoofed trial in the a-DCF
    adcf_c_miss: cost of a miss in the a-DCF
    adcf_c_fa_nontarget: cost of an accepted non-target trial in the a-DCF
    adcf_c_fa_spoof: cost of an accepted spoofed trial in the a-DCF
    adcf_slope: slope of the sigmoids; a high one resembles decisions
    adcf_threshold: threshold of the a-DCF at the beginning
    adcf_learn_threshold: train the threshold; without it the threshold stays the same

    Raises ValueError if the priors leave no probability for targets, or if a cost is 0.
    """

    adcf_weight: float = 1.0
    adcf_p_nontarget: float = 0.05
    adcf_p_spoof: float = 0.05
    adcf_c_miss: float = 1.0
    adcf_c_fa_nontarget: float = 10.0
    adcf_c_fa_spoof: float = 20.0
    adcf_slope: float = 10.0
    adcf_threshold: float = 0.3
    adcf_learn_threshold: bool = True

    def __post_init__(self):
        impostors = self.adcf_p_nontarget + self.adcf_p_spoof
        if not 0 < impostors < 1:
            raise ValueError(
                "--adcf_p_nontarget, --adcf_p_spoof: expected a sum above 0 and below 1, found "
                f"{impostors:g}. The rest is the probability of a target trial."
            )
        for name in ("adcf_c_miss", "adcf_c_fa_nontarget", "adcf_c_fa_spoof", "adcf_slope"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"--{name}: expected a number above 0, found {getattr(self, name):g}."
                )

    @property
    def costs(self) -> tuple[float, float, float]:
        """Returns the costs of all misses, all accepted non-targets and all accepted spoofs."""
        p_target = 1 - self.adcf_p_nontarget - self.adcf_p_spoof
        return (
            self.adcf_c_miss * p_target,
            self.adcf_c_fa_nontarget * self.adcf_p_nontarget,
            self.adcf_c_fa_spoof * self.adcf_p_spoof,
        )


def soft_adcf(
    scores: Tensor,
    target: Tensor,
    nontarget: Tensor,
    spoof: Tensor,
    threshold: Tensor | float,
    settings: AdcfSettings,
) -> Tensor:
    """Returns the a-DCF with sigmoids, a scalar. It is 1 or less for the best constant decision.

    scores: of trials [...]. target, nontarget, spoof: bool [...], the kinds of the trials. Trials
    of no kind do not count. A kind without trials has no error rate, so its term is left out.
    """
    accepted = (settings.adcf_slope * (scores - threshold)).sigmoid()
    miss, fa_nontarget, fa_spoof = settings.costs
    cost = (
        miss * mean_where(target, 1 - accepted)
        + fa_nontarget * mean_where(nontarget, accepted)
        + fa_spoof * mean_where(spoof, accepted)
    )
    return cost / min(miss, fa_nontarget + fa_spoof)


def mean_where(selected: Tensor, values: Tensor) -> Tensor:
    """Returns the mean of the selected values [...], 0 if there are none. selected: bool [...]."""
    # Without indices, so that a GPU need not wait for the number of values.
    return torch.where(selected, values, 0).sum() / selected.sum().clamp(min=1)


class BatchTrials(NamedTuple):
    """The trials that the groups of a batch make, and their kinds.

    enrolment, tested: representations [B, ...] and [B * M, ...]. target, nontarget, spoof: bool [B,
    M, B], whether a tested utterance and an enrolment are a trial of this kind.

    Each group of bona fide speech is an enrolment: the mean of its utterances without the first
    one. Its first utterance is tested against all enrolments, so there is one target trial for each
    group, and the others are non-target trials. Every utterance of a spoofed group is tested
    against all enrolments too. The batch does not say whose voice it imitates, so its trials with
    all enrolments count as spoofed.
    """

    enrolment: Tensor
    tested: Tensor
    target: Tensor
    nontarget: Tensor
    spoof: Tensor


def trials_of_batch(rep: Tensor, batch: Batch) -> BatchTrials:
    """Returns the trials in a batch. rep: embeddings [B, M, D].

    Raises ValueError if rep has no embeddings, no pairs or a single group.
    """
    require_embeddings(rep)
    require_pairs(rep)
    require_speakers(rep)
    label = batch["label"]
    real = ~batch["spoof"]
    is_first = torch.arange(rep.shape[1], device=rep.device) == 0
    same = label[:, None] == label  # [B, B]
    bonafide = (real[:, None] & real)[:, None] & is_first[:, None]  # [B, M, B]
    target = bonafide & same[:, None]
    nontarget = bonafide & ~same[:, None]
    spoof = (~real[:, None] & real)[:, None].expand(-1, rep.shape[1], -1)
    return BatchTrials(rep[:, 1:].mean(1), rep.flatten(0, 1), target, nontarget, spoof)


class TrialCost(Loss):
    """The a-DCF of the trials that the groups of a batch make, see BatchTrials."""

    min_utterances = 2
    min_speakers = 2

    def __init__(self, settings: AdcfSettings):
        super().__init__()
        self.settings = settings
        weights = zip(TRIAL_KINDS, settings.costs, strict=True)
        self.kinds_of_trials = tuple(kind for kind, weight in weights if weight)
        self.threshold: nn.Parameter | float = settings.adcf_threshold
        if settings.adcf_learn_threshold:
            self.threshold = nn.Parameter(torch.tensor(settings.adcf_threshold))

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        trials = trials_of_batch(rep, batch)
        scores = self.similarity(*pair(trials.enrolment, trials.tested))  # [B * M, B]
        scores = scores.unflatten(0, rep.shape[:2])  # [B, M, B]
        kinds = (trials.target, trials.nontarget, trials.spoof)
        cost = soft_adcf(scores, *kinds, self.threshold, self.settings)
        out = {"loss": self.settings.adcf_weight * cost}
        if isinstance(self.threshold, nn.Parameter):
            out["threshold"] = self.threshold.detach()
        return out
