"""The contract of a scheduler: one file each with a function `Scheduler(optimizer, steps_per_epoch, max_epoch, test_interval, *, options)`.

It takes of these what it needs and returns a torch scheduler that is stepped once per update and is a pure function of the step.
"""
