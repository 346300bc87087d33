"""What benchmarks measure with."""
import statistics
import time

REPEATS = 9


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
