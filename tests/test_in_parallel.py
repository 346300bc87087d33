"""Work on all cores: every job once, whatever ends it early."""

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


def bad_one(x):
    if x == 5:
        raise InputError("five: not wanted")
    time.sleep(100 * (x > 5))


def test_a_complaint_ends_the_others():
    with pytest.raises(InputError, match="five: not wanted"):
        [*in_parallel(bad_one, range(16), 3)]
    assert not multiprocessing.active_children()


def test_left_early():
    results = in_parallel(bad_one, [0, 1, 2, 3, *range(6, 20)], 3)
    assert next(results) is None
    results.close()
    assert not multiprocessing.active_children()


def killed(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_killed_worker_is_told():
    with pytest.raises(InputError, match="worker process was killed.*memory"):
        [*in_parallel(killed, range(100), 2)]
    assert not multiprocessing.active_children()
