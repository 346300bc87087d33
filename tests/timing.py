"""What benchmarks measure with."""

import statistics
import time

REPEATS = 9


def medians(works, repeats=REPEATS):
    """{name: work} -> {name: median seconds}, after one call each that is not counted. They take turns: what slows the machine for a while slows them all."""
    for work in works.values():
        work()
    seconds = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in seconds.items()}


def median(work, repeats=REPEATS, before=None):
    """Median seconds of work(), after one call that is not counted; before: what is done before each call."""
    work()
    seconds = []
    for _ in range(repeats):
        if before:
            before()
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)
