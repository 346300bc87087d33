"""The contract of an optimizer.

`params` are parameters, or groups of parameters as dicts: `params`, and values of `lr` and
`weight_decay` that replace the options for this group.

Every file in optimizer/ has one function `Optimizer(params, *, lr: float, weight_decay: float,
options)` that returns a torch optimizer. The keyword parameters are the options. The line
`name: text` in the docstring of the function is the help of an option. BOUNDS has the smallest and
the largest value of options by their names.
"""

# Far above all useful learning rates, the weights become infinite.
BOUNDS = {"lr": (0, 1000), "weight_decay": (0, 1000), "momentum": (0, 1)}
