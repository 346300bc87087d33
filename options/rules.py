"""How options depend on each other, and which of them a run or a checkpoint keeps."""

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
# Option -> the option, or the option and its values, without which it has no effect.
NEEDS = {
    "musan_path": "--augment",
    "rir_path": "--augment",
    "gpu_augment": "--augment",
    "speed_factors": "--speed_perturb",
    "partial": "--initial_model",
    "num_eval": "--eval_frames",
    "bucket_frames": "--eval_frames 0",
    "margin_start": "--margin_until",
    "margin_growth": "--margin_until",
    "balance_attacks": "--num_spk",
    "cohort_list": "--score_norm",
    "cohort_path": "--score_norm",
    "cohort_by": "--score_norm",
    "top_n": "--score_norm asnorm",
    "prior": "--calibration",
    "calibration": "--verify",
    "valid_path": "--valid_list",
    "test_path_libri": "--test_list_libri",
    "gen_list": "--generate",
    "multiple_embedding_flag": "--model MyLinearNet|MyLinearNetv2|MyLinearNetv3|MyLinearNetv4",
}
# Options that an evaluation takes from the checkpoint, beside those of the model and the loss.
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
