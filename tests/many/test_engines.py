"""Engines map jobs to results, each job once, and take no more than they need."""

import os

import pytest

from lrp_hooks import ArgumentError
from lrp_hooks.many.engines import Engine, as_engine


def squared(job):
    return job * job, os.getpid()


def test_in_this_process_jobs_are_taken_one_by_one():
    taken = []
    jobs = (taken.append(n) or n for n in range(100))
    results = Engine().map(squared, jobs)
    assert next(results) == (0, (0, os.getpid()))
    assert taken == [0]
    results.close()


def test_what_cannot_be_sent():
    with pytest.raises(ArgumentError, match="cannot be sent.*workers=1"):
        list(Engine(workers=2).map(lambda job: job, [1, 2]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("rai", 1), "engine='rai' must be one of 'local', 'ray'"),
        (("local", 0), "workers=0"),
        (("local", True), "workers=True"),
        (("local", 1, "a:1"), "address='a:1' goes with engine='ray'"),
        (("local", 1, None, 1), "num_gpus=1 goes with engine='ray'"),
    ],
)
def test_what_is_no_engine(given, message):
    with pytest.raises(ArgumentError, match=message):
        as_engine(*given)


def test_without_ray_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.setitem(__import__("sys").modules, "ray.cloudpickle", None)
    with pytest.raises(ArgumentError, match=r'pip install "lrp_hooks\[ray\]"'):
        list(Engine("ray").map(squared, [1]))
