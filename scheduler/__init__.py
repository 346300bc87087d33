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
"""
