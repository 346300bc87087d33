"""The contract of an optimizer: one file each with a function `Optimizer(params, *, lr: float, weight_decay: float, options)` -> torch optimizer."""
