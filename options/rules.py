"""How options depend on each other, and which of them a run or a checkpoint keeps."""

import argparse
from typing import NamedTuple

# Modes that use a checkpoint.
USES = ("eval", "extract", "verify", "generate", "all_pairs", "export")
# Options that say what to do now. They are no part of a run, so config.yaml leaves them out.
MODES = (
    "config",
    "modelConfig",
    *USES,
    "average",
    "check",
    "gen_list",
    "gen_path",
    "gen_target_dir",
    "output",
    "threshold",
    "calibration",
    "prior",
)


class Need(NamedTuple):
    """What an option needs in order to have an effect.

    option: another option. values: the values that it must have. Without them, any value is enough
    that is not false, zero or empty. otherwise: the end of the sentence "--... has no effect ...".
    """

    option: str
    otherwise: str
    values: tuple[str, ...] = ()

    def is_met(self, options: argparse.Namespace) -> bool:
        """Returns whether the other option has one of the values."""
        value = getattr(options, self.option, None)
        return str(value) in self.values if self.values else bool(value)


ENHANCERS = ("MyLinearNet", "MyLinearNetv2", "MyLinearNetv3", "MyLinearNetv4")
WITHOUT_AUGMENT = Need("augment", "without --augment")
WITHOUT_MARGIN_UNTIL = Need("margin_until", "without --margin_until")
WITHOUT_ADCF_WEIGHT = Need("adcf_weight", "without --adcf_weight above 0")
ADCF_OPTIONS = (
    *("p_nontarget", "p_spoof", "c_miss", "c_fa_nontarget", "c_fa_spoof", "slope", "threshold"),
    "learn_threshold",
)
WITHOUT_SCORE_NORM = Need("score_norm", "without --score_norm")
# Option -> what it needs.
NEEDS = {
    "musan_path": WITHOUT_AUGMENT,
    "rir_path": WITHOUT_AUGMENT,
    "gpu_augment": WITHOUT_AUGMENT,
    "speed_factors": Need("speed_perturb", "without --speed_perturb"),
    "partial": Need("initial_model", "without --initial_model"),
    "num_eval": Need("eval_frames", "with --eval_frames 0, which uses complete files"),
    "bucket_frames": Need("eval_frames", "without --eval_frames 0", ("0",)),
    "margin_start": WITHOUT_MARGIN_UNTIL,
    "margin_growth": WITHOUT_MARGIN_UNTIL,
    **{f"adcf_{name}": WITHOUT_ADCF_WEIGHT for name in ADCF_OPTIONS},
    "balance_attacks": Need("num_spk", "without --num_spk"),
    "cohort_list": WITHOUT_SCORE_NORM,
    "cohort_path": WITHOUT_SCORE_NORM,
    "cohort_by": WITHOUT_SCORE_NORM,
    "top_n": Need("score_norm", "without --score_norm asnorm", ("asnorm",)),
    "prior": Need("calibration", "without --calibration"),
    "calibration": Need("verify", "without --verify"),
    "valid_path": Need("valid_list", "without --valid_list"),
    "test_path_libri": Need("test_list_libri", "without --test_list_libri"),
    "gen_list": Need("generate", "without --generate"),
    "multiple_embedding_flag": Need(
        "model", f"without a network for embeddings (--model {', '.join(ENHANCERS)})", ENHANCERS
    ),
}
# Options that have an effect in training only -> what happens without a training.
TRAINING_ONLY = {"partial": "All weights of the model must fit, so nothing is loaded in part"}
# Options that an evaluation reads from the checkpoint, besides the options of model and loss.
FROM_CHECKPOINT = (
    "eval_frames",
    "num_eval",
    "bucket_frames",
    "crop_margin",
    "short_files",
    "scoring",
    "eer",
    "dcf_p_target",
    "dcf_c_miss",
    "dcf_c_fa",
)
