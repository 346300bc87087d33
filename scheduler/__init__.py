"""The contract of a scheduler.

Every file in scheduler/ has one function `Scheduler(optimizer, steps_per_epoch, max_epoch,
test_interval, *, options)` that returns a torch scheduler. The function may leave out parameters
that it does not need. The keyword parameters are the options. The line `name: text` in the
docstring of the function is the help of an option.

It changes the learning rates of all groups of parameters by the same factor. The option --lr is
optimizer.defaults["lr"]; a group may have another rate.

The scheduler is stepped once per update, and the learning rate depends on the step only. A
scheduler that follows results has a method watch(results) instead. Its argument is the log line of
every epoch: the loss, and the EER if the epoch was evaluated.

BOUNDS has the smallest and the largest value of options by their names. A scheduler raises
ValueError for other values that it cannot use.
"""

# A factor above 1 would raise the learning rate without an end.
BOUNDS = {
    "lr_max": (0, 1000),
    "lr_min": (0, 1000),
    "lr_final": (0, 1000),
    "lr_start": (0, 1000),
    "lr_cyclic_min": (0, 1000),
    "lr_cyclic_max": (0, 1000),
    "lr_decay": (0, 1),
    "lr_gamma": (0, 1),
    "lr_tmul": (1, 1000),
    "lr_wstep": (0, 1_000_000),
    "lr_threshold": (0, 1),
}
