"""What explainers that run a model many times do to its call, and to chance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.copies import held_tensors, swapped
from ..attribution.finite import check_output
from ..attribution.inputs import Call, advising, bind
from ..attribution.pairs import Pairs
from ..attribution.readout import Contrast, Selected, select
from ..attribution.regions import Regions
from ..attribution.sharing import run_plain
from ..attribution.spots import Spots
from ..engine.subject import Subject
from ..errors import ArgumentError, UnsupportedModelError
from ..support.numbers import is_whole

__all__ = [
    "attended",
    "changed",
    "check_number",
    "check_one_text",
    "real_tokens",
    "run",
    "seeded",
    "target_of",
]


def attended(model: nn.Module, call: Call) -> Tensor | None:
    """Find the positions that hold no padding.

    Args:
        model: The model that is called.
        call: Its call.

    Returns:
        Boolean ``[B, T]`` from the attention mask, named or positional, or ``None``
        where there is none of that shape.
    """
    return _mask(model, call, call.main.shape[:2])


def real_tokens(model: nn.Module, call: Call) -> Tensor | None:
    """Find the tokens that are no padding, those of several choices as well.

    Args:
        model: The model that is called.
        call: Its call.

    Returns:
        As `attended`, but ``[B, C, T]`` of choices.
    """
    return _mask(model, call, call.main.shape[: 3 if call.has_choices else 2])


def _mask(model: nn.Module, call: Call, shape: torch.Size) -> Tensor | None:
    mask = call.mask
    if mask is None:
        mask = dict(_named(model, call)).get("attention_mask")
    if not isinstance(mask, Tensor) or mask.shape != shape:
        return None
    return mask.detach() != 0


def check_one_text(model: nn.Module, inputs: Any, who: str) -> None:
    """Refuse several texts an example, for methods that follow the tokens of one.

    Args:
        model: The model that is called.
        inputs: What it is called with.
        who: The method.

    Raises:
        UnsupportedModelError: If the model chooses among texts.
    """
    call = bind(Subject(model), inputs)
    if call.has_choices:
        raise UnsupportedModelError(
            f"{who} explains one text an example, but {type(model).__name__} chooses "
            f"among several: its inputs have the shape {tuple(call.main.shape)}. Use "
            "'lrp', or a method of gradients or of perturbed inputs."
        )


def changed(
    model: nn.Module, call: Call, change: Callable[[str, Tensor], Tensor]
) -> Call:
    """Change every tensor of a call that has a row for each example.

    Args:
        model: The model that is called.
        call: Its call.
        change: Takes the argument's name and the tensor, and returns another.

    Returns:
        The new call. An argument, such as a key-value cache, that holds rows which
        nothing can be put in place of is an `UnsupportedModelError`.
    """
    made: dict[int, Tensor] = {}
    values = [
        _remade(name, value, call.batch, made, change)
        for name, value in _named(model, call)
    ]
    n = len(call.args)
    kwargs = dict(zip(call.kwargs, values[n:], strict=True))
    return call.made_of(tuple(values[:n]), kwargs, lambda v: made.get(id(v), v))


def _remade(
    name: str,
    value: Any,
    batch: int,
    made: dict[int, Tensor],
    change: Callable[[str, Tensor], Tensor],
) -> Any:
    """Change the tensors of an argument, however deep it holds them."""
    held = [t for t in held_tensors(value) if t.shape[:1] == (batch,)]
    for tensor in held:
        if id(tensor) not in made:
            made[id(tensor)] = change(name, tensor)
    remade = swapped(value, made) if held else value
    old = {id(tensor) for tensor in held if made[id(tensor)] is not tensor}
    if any(id(tensor) in old for tensor in held_tensors(remade)):
        raise UnsupportedModelError(
            f"{name or 'an argument'} is a {type(value).__name__} with values of each "
            "example, which cannot be changed together with the input. Leave it out "
            "(of a cache: pass all tokens), or use a method of one pass."
        )
    return remade


def run(subject: Subject, call: Call, target: Any) -> Selected:
    """Call the model without a graph.

    Args:
        subject: The model.
        call: Its call.
        target: What is explained, see `Instrumentation.attribute`.

    Returns:
        The explained scalars, which are finite.
    """
    with advising(call), torch.no_grad():
        given = call.fresh()
        output = run_plain(subject.model, given.args, given.kwargs)
        selected = select(output, target, subject.model, call.batch, call.output_mask)
    check_output(subject, call, selected.scalar)
    return selected


def target_of(target: Any, rows: Tensor) -> Any:
    """Choose the target of each of several rows.

    Args:
        target: A resolved target of the whole batch, see `Selected.target`.
        rows: The example that each row belongs to, ``[N]``.

    Returns:
        The same kind of target, for ``N`` rows.
    """
    if isinstance(target, Contrast):
        return Contrast(target_of(target.a, rows), target_of(target.b, rows))
    if isinstance(target, Spots | Regions | Pairs):
        return target.of(rows.tolist())
    return target[rows.to(target.device)] if isinstance(target, Tensor) else target


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's random numbers on the CPU, and put them back as they were.

    Args:
        seed: The seed.

    Yields:
        Nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        yield


def check_number(name: str, value: object, least: float | None, whole: bool) -> None:
    """Refuse an option that is not the number it should be.

    Args:
        name: The option.
        value: What came.
        least: The smallest number allowed, if there is one.
        whole: Whether it must be a whole number.

    Raises:
        ArgumentError: If it is something else.
    """
    is_number = hasattr(value, "__float__") and not isinstance(value, bool)
    fits = is_whole(value) if whole else is_number
    if not fits or (least is not None and not float(value) >= least):  # type: ignore[arg-type]
        what = "a whole number" if whole else "a number"
        limit = "" if least is None else f" of at least {least}"
        raise ArgumentError(f"{name}={value!r} must be {what}{limit}.")


def _named(model: nn.Module, call: Call) -> list[tuple[str, Any]]:
    """List the arguments of a call by name, the positional ones first."""
    try:
        names = list(inspect.signature(model.forward).parameters)[: len(call.args)]
    except (TypeError, ValueError):  # builtins have no signature
        names = []
    names += [""] * (len(call.args) - len(names))
    return [*zip(names, call.args, strict=True), *call.kwargs.items()]
