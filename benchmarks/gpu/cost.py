"""What relevance costs on a device, beside a forward pass and Gradient x Input."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import torch
from torch import nn

from ..cost.cases import Case, build_model, random_batch
from ..cost.methods import (
    FORWARD,
    GRADIENT,
    Batch,
    Call,
    Method,
    attribute,
    attribute_name,
    forward,
    gradient_x_input,
)
from ..cost.timing import interleave, median_ratio

OURS = attribute_name("conservative")
METHODS: dict[str, Method] = {
    FORWARD: forward,
    GRADIENT: partial(gradient_x_input, trainable=False),
    OURS: partial(attribute, rules="conservative"),
}
Record = dict[str, Any]


def cost(config: Record, device: torch.device) -> list[Record]:
    """Time methods in turns.

    Args:
        config: The configuration.
        device: The device.

    Returns:
        A record for each model, type and size.
    """
    own, found = config["cost"], []
    for name in own["models"]:
        for dtype in own["dtypes"]:
            model = build_model(config, name).to(device, getattr(torch, dtype))
            for batch, length in own["sizes"]:
                case = Case(name, batch, length)
                record = timed(model, case, own["rounds"], config["seed"], device)
                found.append({"dtype": dtype, **record})
    return found


def long(config: Record, device: torch.device) -> list[Record]:
    """Time long texts, plainly and with blocks that run again.

    Args:
        config: The configuration.
        device: The device.

    Returns:
        A record for each length.
    """
    own = config["long"]
    model = build_model(config, own["model"]).to(device, getattr(torch, own["dtype"]))
    return [
        {
            "dtype": own["dtype"],
            **timed(
                model,
                Case(own["model"], 1, length),
                own["rounds"],
                config["seed"],
                device,
            ),
        }
        for length in own["lengths"]
    ]


def timed(
    model: nn.Module, case: Case, rounds: int, seed: int, device: torch.device
) -> Record:
    """Time methods on one batch, and take the peak of the memory of each.

    Args:
        model: The model, on the device.
        case: The size of the batch.
        rounds: How many.
        seed: Of the batch.
        device: The device.

    Returns:
        Seconds of a forward pass, ratios, and MiB above the model.
    """
    batch = {k: v.to(device) for k, v in random_batch(model, case, seed).items()}
    methods = {
        name: partial(_once, method, model, batch, device)
        for name, method in METHODS.items()
    }
    for run in methods.values():
        run()  # kernels are chosen and memory is taken in the first call
    seconds = interleave(methods, float("inf"), (rounds, rounds))
    return {
        "model": case.model,
        "size": [case.batch, case.length],
        "forward": statistics.median(seconds[FORWARD]),
        "gradient": median_ratio(seconds, GRADIENT, FORWARD),
        "ours": median_ratio(seconds, OURS, FORWARD),
        "beside gradient": median_ratio(seconds, OURS, GRADIENT),
        "mib": {
            name: _peak(method, model, batch, device)
            for name, method in METHODS.items()
        },
    }


def _once(
    method: Method, model: nn.Module, batch: Batch, device: torch.device
) -> float:
    with method(model, batch) as call:
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        return time.perf_counter() - start


def _peak(
    method: Method, model: nn.Module, batch: Batch, device: torch.device
) -> float | None:
    """Return MiB above what is held; None where the device does not count."""
    if device.type != "cuda":
        return None
    with method(model, batch) as call:
        return _most(call, device)


def _most(call: Call, device: torch.device) -> float:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    _wait(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
