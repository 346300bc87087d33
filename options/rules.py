"""How options depend on each other, and which of them a run or a checkpoint keeps."""

import argparse
from typing import NamedTuple

from metrics.backends import STAGES as BACKEND_STAGES
from metrics.score_norm import NORMS

# Modes that use a checkpoint.
USES = (
    "eval",
    "extract",
    "verify",
    "generate",
    "all_pairs",
    "export",
    "publish",
    "estimate_backend",
)
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
    "publish_classifier",
    "license",
    "card_scores",
    "card_datasets",
    "output",
    "threshold",
    "cm_model",
    "fusion_file",
    "calibration",
    "prior",
    "stages",
    "calibration_list",
    "calibration_path",
    "bootstrap",
    "backend",
    "mean_subtraction",
    "mean_path",
    "backend_list",
    "backend_path",
    "backend_stages",
    "lda_dim",
    "wccn_shrinkage",
    "plda_iterations",
    "plda_length",
)


class Need(NamedTuple):
    """What an option needs in order to have an effect.

    option: another option, or several options of which one is enough. values: the values that it
    must have. Without them, any value is enough that is not false, zero or empty. stages: of
    --stages, one of which is enough too. otherwise: the end of the sentence "--... has no effect
    ...".
    """

    option: str | tuple[str, ...]
    otherwise: str
    values: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    def is_met(self, options: argparse.Namespace) -> bool:
        """Returns whether another option has one of the values, or --stages one of the stages."""
        if {*self.stages} & {*(options.stages or ())}:
            return True
        names = [self.option] if isinstance(self.option, str) else self.option
        values = [getattr(options, name, None) for name in names]
        return any(str(value) in self.values if self.values else bool(value) for value in values)


# Options that change training crops of speech. They have no effect on embeddings.
SPEECH_AUGMENTATIONS = ("augment", "codec_augment", "rawboost", "speed_perturb")
ENHANCERS = ("MyLinearNet", "MyLinearNetv2", "MyLinearNetv3", "MyLinearNetv4")
WITHOUT_AUGMENT = Need("augment", "without --augment")
WITHOUT_MARGIN_UNTIL = Need(
    ("margin_until", "margin_until_epoch"), "without --margin_until or --margin_until_epoch"
)
WITHOUT_SCORE_NORM = Need("score_norm", "without --score_norm", stages=tuple(NORMS))
WITHOUT_STAGES_OF_TRIALS = Need(
    (), "without --stages qualities or calibration", stages=("qualities", "calibration")
)
WITHOUT_ESTIMATE = Need("estimate_backend", "without --estimate_backend", stages=BACKEND_STAGES)
WITHOUT_VERIFY = Need("verify", "without --verify")
WITHOUT_PUBLISH = Need("publish", "without --publish")
WITHOUT_EMBEDDINGS = Need(
    ("eval", "check", "all_pairs", "verify", "extract", "generate", "export"),
    "without --eval, --check, --all_pairs, --verify, --extract or --export",
)
WITHOUT_ADCF_WEIGHT = Need("adcf_weight", "without --adcf_weight above 0")
ADCF_OPTIONS = (
    *("p_nontarget", "p_spoof", "c_miss", "c_fa_nontarget", "c_fa_spoof", "slope", "threshold"),
    "learn_threshold",
)
# Option -> what it needs.
NEEDS = {
    "musan_path": WITHOUT_AUGMENT,
    "rir_path": WITHOUT_AUGMENT,
    "gpu_augment": WITHOUT_AUGMENT,
    "augment_probability": WITHOUT_AUGMENT,
    "codec_probability": Need("codec_augment", "without --codec_augment"),
    "rawboost_probability": Need("rawboost", "without --rawboost"),
    "speed_factors": Need("speed_perturb", "without --speed_perturb"),
    "lr_start": Need("lr_wstep", "without --lr_wstep"),
    "lr_restart": Need("lr_t0", "without --lr_t0, because the run has one cycle"),
    "partial": Need("initial_model", "without --initial_model"),
    "num_eval": Need("eval_frames", "with --eval_frames 0, which uses complete files"),
    "bucket_frames": Need("eval_frames", "without --eval_frames 0", ("0",)),
    "margin_start": WITHOUT_MARGIN_UNTIL,
    "margin_growth": WITHOUT_MARGIN_UNTIL,
    **{f"adcf_{name}": WITHOUT_ADCF_WEIGHT for name in ADCF_OPTIONS},
    "gate_weight": Need("fusion_gate", "without --fusion_gate"),
    "fusion": Need("fusion_gate", "with --fusion_gate, which learns the score", ("False",)),
    "balance_attacks": Need("num_spk", "without --num_spk"),
    "cohort_list": WITHOUT_SCORE_NORM,
    "cohort_path": WITHOUT_SCORE_NORM,
    "cohort_by": WITHOUT_SCORE_NORM,
    "top_n": Need("score_norm", "without --score_norm asnorm", ("asnorm",), ("asnorm",)),
    "stages": Need("eval", "without --eval"),
    "calibration_list": WITHOUT_STAGES_OF_TRIALS,
    "calibration_path": WITHOUT_STAGES_OF_TRIALS,
    "bootstrap": Need("stages", "without --stages"),
    "prior": Need("calibration", "without --calibration"),
    "cm_model": WITHOUT_VERIFY,
    "fusion_file": WITHOUT_VERIFY,
    "calibration": Need(("verify", "publish"), "without --verify or --publish"),
    "publish_classifier": WITHOUT_PUBLISH,
    "license": WITHOUT_PUBLISH,
    "card_scores": WITHOUT_PUBLISH,
    "card_datasets": WITHOUT_PUBLISH,
    "backend": WITHOUT_EMBEDDINGS._replace(option=(*WITHOUT_EMBEDDINGS.option, "publish")),
    "mean_subtraction": WITHOUT_EMBEDDINGS,
    "mean_path": Need("mean_subtraction", "without --mean_subtraction LIST"),
    "backend_list": WITHOUT_ESTIMATE,
    "backend_path": WITHOUT_ESTIMATE,
    "backend_stages": Need("estimate_backend", "without --estimate_backend"),
    "lda_dim": WITHOUT_ESTIMATE,
    "wccn_shrinkage": WITHOUT_ESTIMATE,
    "plda_iterations": WITHOUT_ESTIMATE,
    "plda_length": WITHOUT_ESTIMATE,
    "valid_path": Need("valid_list", "without --valid_list"),
    "test_path_libri": Need("test_list_libri", "without --test_list_libri"),
    "gen_list": Need("generate", "without --generate"),
    "multiple_embedding_flag": Need(
        "model", f"without a network for embeddings (--model {', '.join(ENHANCERS)})", ENHANCERS
    ),
}
# Options that have an effect in training only -> what happens without a training.
TRAINING_ONLY = {
    "partial": "All weights of the model must fit, so nothing is loaded in part",
    "codec_augment": "It changes training crops only",
    "rawboost": "It changes training crops only",
}
# Options that an evaluation reads from the checkpoint, besides the options of model and loss.
FROM_CHECKPOINT = (
    "eval_frames",
    "num_eval",
    "bucket_frames",
    "eval_speed",
    "crop_margin",
    "short_files",
    "scoring",
    "eer",
    "dcf_p_target",
    "dcf_c_miss",
    "dcf_c_fa",
    "adcf",
)
