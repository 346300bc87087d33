"""The contract of a scheduler: one file each with a function `Scheduler(optimizer, steps_per_epoch, max_epoch, test_interval, *, options)`.

It takes of these what it needs and returns a torch scheduler that is stepped once per update and is a pure function of the step.
One that follows results instead has a method watch(results), which gets the line of the log after every epoch: loss, and EER where evaluated.
"""
