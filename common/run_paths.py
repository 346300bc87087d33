"""Where the files of a run are, relative to its folder --save_path."""

CONFIG = "config.yaml"
COMMAND = "command.txt"
LOG = "log.jsonl"
# Scores of the first list of trials.
SCORES = "result/scores.txt"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "model"
# The checkpoint that the run resumes from.
LAST_CHECKPOINT = "model/last.model"
# The checkpoint of the evaluation with the lowest EER.
BEST_CHECKPOINT = "model/best.model"
# A pattern: the checkpoints of single evaluations.
NUMBERED_CHECKPOINTS = "model/model?????????.model"
