"""Timing functions of the benchmarks."""

import statistics
import time

REPEATS = 9


def seconds_of(work):
    """Measure the seconds of one call of work()."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def medians(works, repeats=REPEATS):
    """Measure the median seconds of several functions: {name: work} -> {name: seconds}.

    The first call of each function is not counted. The functions alternate, so that a slow period
    of the machine slows all of them.
    """
    for work in works.values():
        work()
    seconds = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(seconds_of(work))
    return {name: statistics.median(each) for name, each in seconds.items()}


def median(work, repeats=REPEATS, before=None):
    """Measure the median seconds of work(), after one call that is not counted.

    before: a function that is called before each measured call, and is not measured itself.
    """
    work()
    seconds = []
    for _ in range(repeats):
        if before:
            before()
        seconds.append(seconds_of(work))
    return statistics.median(seconds)
