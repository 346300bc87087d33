"""in_parallel does every job once, and ends its workers however it ends itself."""

import multiprocessing
import os
import signal
import time

import pytest

from common.errors import InputError
from prep.workers import in_parallel


def square(x):
    return x * x


@pytest.mark.parametrize("jobs", [0, 1, 3, 4, 5, 9, 101])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_job_once(jobs, processes):
    assert sorted(in_parallel(square, iter(range(jobs)), processes)) == [x * x for x in range(jobs)]
    assert not multiprocessing.active_children()


def fail_at_five(x):
    """Job 5 fails. Later jobs need more time than any test."""
    if x == 5:
        raise InputError("five: not allowed")
    if x > 5:
        time.sleep(100)


def test_an_error_ends_the_other_workers():
    with pytest.raises(InputError, match="five: not allowed"):
        list(in_parallel(fail_at_five, range(16), 3))
    assert not multiprocessing.active_children()


def test_closed_early():
    results = in_parallel(fail_at_five, [0, 1, 2, 3, *range(6, 20)], 3)
    assert next(results) is None
    results.close()
    assert not multiprocessing.active_children()


def killed_at_five(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_killed_worker_is_reported():
    with pytest.raises(InputError, match="worker process was killed.*memory"):
        list(in_parallel(killed_at_five, range(100), 2))
    assert not multiprocessing.active_children()
