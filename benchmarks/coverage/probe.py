"""Checks one architecture in this process; `run` calls it in a process of its own."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from lrp_hooks import (
    ConstantsWarning,
    Instrumentation,
    Relevance,
    TargetError,
    UnruledWarning,
    instrument,
)
from lrp_hooks.explainers.constants import warn_of_constants

from .architectures import Architecture, build
from .calls import examples_of, first_of, forward, projection
from .inputs import Inputs, random_inputs

TOLERANCE = 1e-5
ROUNDED = 1e-4
"""What sums of float32 may round to."""
ADDITIVE = re.compile(
    r"(^|[._])(bias|beta|biases)$|bias$|position|token_type|segment|cls_token"
    r"|running_mean|absolute_pos|pos_embed"
)
Record = dict[str, Any]
Prepared = tuple[nn.Module, Any, bool]
Asked = dict[str, Any]
"""Keyword arguments of `attribute`, such as ``batch_dim``."""


def probe(architecture: Architecture) -> Record:
    """Build a tiny model and check it.

    Args:
        architecture: What to check.

    Returns:
        See `checked`.
    """
    return checked(lambda: prepare(architecture))


def checked(prepared: Callable[[], Prepared], asked: Asked | None = None) -> Record:
    """Check a model.

    Args:
        prepared: Makes it, and what it is given.
        asked: How it is explained.

    Returns:
        What was found; its ``status`` is "covered", "leak", "not identical",
        "fails" (an exception while instrumented) or "not buildable".
    """
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        model, inputs, cached = prepared()
    except Exception as error:
        return {"status": "not buildable", "reason": _first_line(error)}
    of = next((p.dtype for p in model.parameters()), torch.float64)
    dtype = str(of).removeprefix("torch.")
    record: Record = {"dtype": dtype} | ({} if cached else {"cached": False})
    try:
        record |= check(model, inputs, asked)
    except Exception as error:
        record |= {"status": "fails", "reason": _first_line(error), "at": _place(error)}
    return record | {"seconds": round(time.perf_counter() - start, 2)}


def prepare(architecture: Architecture) -> tuple[nn.Module, Inputs, bool]:
    """Build a model that runs: with its cache, or without where the tiny one cannot.

    Args:
        architecture: What to build.

    Returns:
        The model, its inputs, and whether it keeps a cache as it does by default.
    """
    try:
        return *_running(architecture, cached=True), True
    except (AttributeError, LookupError, RuntimeError, ValueError):
        return *_running(architecture, cached=False), False


def _running(architecture: Architecture, cached: bool) -> tuple[nn.Module, Inputs]:
    """Build a model that runs: in float64, or float32 where it insists."""
    model = build(architecture, cached=cached)
    inputs = random_inputs(model, architecture.task)
    try:
        fine = bool(torch.isfinite(forward(model, inputs)).all())
    except (RuntimeError, NotImplementedError):
        fine = False
    if not fine:
        model = model.float()
        inputs = random_inputs(model, architecture.task)
        if not bool(torch.isfinite(forward(model, inputs)).all()):
            raise ValueError("the output of the plain model is not finite")
    return model, inputs


def check(model: nn.Module, inputs: Any, asked: Asked | None = None) -> Record:
    """Run every check.

    Args:
        model: A model with random weights.
        inputs: What it is given.
        asked: How it is explained.

    Returns:
        The record, with a ``status``.
    """
    asked = asked or {}
    plain, recorded = forward(model, inputs), forward(model, inputs, grad=True)
    with instrumented(model) as lrp, warnings.catch_warnings(record=True) as told:
        silent, ruled = forward(model, inputs), forward(model, inputs, grad=True)
        relevance = attribute(lrp, inputs, asked)
        found = account(lrp, inputs, relevance, asked)
    identical = torch.equal(silent, plain) and (
        torch.equal(ruled, recorded) or torch.equal(ruled, plain)
    )
    if found["status"] == "covered" and not identical:
        found["status"] = "not identical"
    bare = without_constants(model, inputs, set(relevance.ledger.sources), asked)
    said = any(issubclass(w.category, UnruledWarning) for w in told)
    said = said or (not _is_read(relevance) and are_constants_told(relevance))
    return {**found, **bare, "identical": identical, "told": said}


def account(
    lrp: Instrumentation, inputs: Any, relevance: Relevance, asked: Asked
) -> Record:
    """Say whether the ledger closes, or else where it is open.

    Args:
        lrp: The instrumented model.
        inputs: What it is given.
        relevance: What was found.
        asked: How it is explained.

    Returns:
        A part of the record.
    """
    error, limit = float(relevance.ledger.error.max()), tolerance(relevance)
    closes, read = error <= limit and rows_add_up(relevance), _is_read(relevance)
    where = [] if error <= limit else leaks(lrp, inputs, asked)
    if closes and not read:
        where = [{"module": "", "type": "nothing was read", "leak": 1}]
    return {
        "status": "covered" if closes and read else "leak",
        "ledger": _short(error),
        "unruled": sorted(map(list, lrp.coverage.unruled)),
        "where": where,
    }


def are_constants_told(relevance: Relevance) -> bool:
    """Tell whether `explain` says that constants made the output."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConstantsWarning)
        warn_of_constants(relevance)
    return bool(told)


def _is_read(relevance: Relevance) -> bool:
    return any(bool(part.any()) for part in _tensors(relevance.scores))


@contextmanager
def instrumented(model: nn.Module) -> Generator[Instrumentation]:
    """Instrument with the default rules; what has no rule is in the coverage."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always", UnruledWarning)
        with instrument(model, rules="conservative") as lrp:
            yield lrp


def attribute(lrp: Instrumentation, inputs: Any, asked: Asked) -> Relevance:
    """Explain the default target, or one projection of the output if there is none."""
    torch.manual_seed(0)
    try:
        return lrp.attribute(inputs, **asked)
    except TargetError:
        torch.manual_seed(0)
        target = partial(projection, examples=examples_of(inputs))
        return lrp.attribute(inputs, **{"target": target, **asked})


def tolerance(relevance: Relevance) -> float:
    """Return up to which error a ledger closes, in the numbers that it has."""
    exact = relevance.ledger.output.dtype == torch.float64
    return TOLERANCE if exact else ROUNDED


def rows_add_up(relevance: Relevance) -> bool:
    """Tell whether scores and sources sum to the output of each example."""
    parts = [part.double().flatten(1).sum(1) for part in _tensors(relevance.scores)]
    ledger = relevance.ledger
    if any(len(part) != len(ledger.output) for part in parts):
        return False
    terms = [*parts, *(v.double() for v in ledger.sources.values())]
    gap = (sum(terms) - ledger.output.double()).abs()
    return bool((gap <= tolerance(relevance) * ledger.scale.clamp(min=1e-30)).all())


def without_constants(
    model: nn.Module, inputs: Any, sources: set[str], asked: Asked
) -> Record:
    """Zero what is added, as far as it is a parameter or a buffer, and explain again.

    Args:
        model: The model; it is changed.
        inputs: What it is given.
        sources: Names that the ledger knows.
        asked: How it is explained.

    Returns:
        The error of the sum of scores, and what is added all the same.
    """
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            added = name in sources or ADDITIVE.search(name)
            if added and value.is_floating_point():
                value.zero_()
    try:
        with instrumented(model) as lrp:
            ledger = attribute(lrp, inputs, asked).ledger
    except Exception as error:
        return {"conservation": None, "remaining": [_first_line(error)]}
    gap = (ledger.inputs - ledger.output).abs()
    scale = torch.maximum(ledger.output.abs(), ledger.inputs.abs())
    remaining = [n for n, v in ledger.sources.items() if bool(v.abs().max() > 1e-9)]
    return {
        "conservation": _short(float((gap / scale.clamp(min=1e-30)).max())),
        "remaining": sorted(remaining)[:5],
    }


def leaks(
    lrp: Instrumentation, inputs: Any, asked: Asked | None = None, n: int = 3
) -> list[Record]:
    """Name the modules with the largest leaks, for the first example.

    Args:
        lrp: The instrumented model.
        inputs: What it is given.
        asked: How it is explained.
        n: How many to name.

    Returns:
        Module, type and leak as a share of the output, the largest first.
    """
    whole = isinstance(inputs, Mapping) and not asked
    one = first_of(inputs) if whole else inputs
    torch.manual_seed(0)
    audit = lrp.audit(one, **asked or {})
    scale = max(1e-30, float(audit.ledger.output.abs().max()))
    return [
        {"module": row.module, "type": row.kind, "leak": _short(row.leak / scale)}
        for row in audit.rows[:n]
        if abs(row.leak) > TOLERANCE * scale
    ]


def _tensors(value: Any) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _short(value: float) -> float:
    return float(f"{value:.2e}")


def _first_line(error: Exception) -> str:
    text = re.sub(r"0x[0-9a-f]+", "0x", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:240]


def _place(error: Exception) -> str:
    trace, places = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
        places.append(f"{file}:{code.co_name}")
        trace = trace.tb_next
    return " > ".join(places[-4:])
