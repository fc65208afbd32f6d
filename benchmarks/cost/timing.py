"""CPU time, interleaved so that a slow moment of the machine hits every method."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

from torch import nn

from .methods import Batch, Call, Method

Clock = Callable[[], float]
Seconds = dict[str, list[float]]


def cpu_seconds(call: Call, clock: Clock = time.process_time) -> float:
    """Measure one call.

    Args:
        call: What to measure.
        clock: Seconds of CPU time of this process. Defaults to all its threads'.

    Returns:
        CPU seconds; garbage of earlier calls is collected before the clock starts.
    """
    gc.collect()
    start = clock()
    call()
    return clock() - start


def interleave(
    methods: Mapping[str, Callable[[], float]],
    budget: float,
    rounds: tuple[int, int],
) -> Seconds:
    """Measure every method once a round, each round from another first method.

    Args:
        methods: Functions that run a method and return its seconds.
        budget: No further round starts once this many seconds were measured.
        rounds: The least and the largest number of rounds.

    Returns:
        The seconds of each method, one number a round.
    """
    names = list(methods)
    seconds: Seconds = {name: [] for name in names}
    least, most = rounds
    spent = 0.0
    for turn in range(most):
        if turn >= least and spent >= budget:
            break
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(methods[name]())
            spent += seconds[name][-1]
    return seconds


def timed(
    method: Method, model: nn.Module, batch: Batch, clock: Clock = time.process_time
) -> float:
    """Prepare a method outside the clock and measure its call."""
    with method(model, batch) as call:
        return cpu_seconds(call, clock)


def ratios(seconds: Mapping[str, list[float]], method: str, base: str) -> list[float]:
    """Divide two methods round by round.

    Args:
        seconds: What `interleave` returned.
        method: The method in question.
        base: The method it is compared with.

    Returns:
        One ratio a round: both of its numbers were measured within seconds.
    """
    pairs = zip(seconds[method], seconds[base], strict=True)
    return [mine / other for mine, other in pairs]


def median_ratio(seconds: Mapping[str, list[float]], method: str, base: str) -> float:
    """Take the median over rounds of `ratios`."""
    return statistics.median(ratios(seconds, method, base))
