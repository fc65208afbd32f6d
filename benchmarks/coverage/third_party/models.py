"""What is listed: models of other libraries, small ones, and how each is called.

The list is data, in ``models.json``: what is called, with which arguments, and what the
model is given. Nothing there says how a model is explained.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..probe import Inputs

MODELS = Path(__file__).with_name("models.json")
VOCABULARY = 64


@dataclass(frozen=True)
class Listed:
    """One model of a library.

    Attributes:
        library: Where it comes from.
        kind: What it is called there, and what differs from its default.
        spec: How it is made and called.
        graph: Whether its inputs are the nodes and edges of one graph.
    """

    library: str
    kind: str
    spec: Mapping[str, Any] = field(hash=False)
    graph: bool = False

    @property
    def name(self) -> str:
        """The key of this model in the results."""
        return f"{self.library}/{self.kind}"


def listed() -> Iterator[Listed]:
    """List everything, library by library.

    Yields:
        One entry for each model.
    """
    for library, found in json.loads(MODELS.read_text(encoding="utf-8")).items():
        package, usual = found.get("package"), found.get("defaults", {})
        for kind, own in found["models"].items():
            spec = {"inputs": found.get("inputs"), **own}
            if package is not None:
                spec = {**spec, "call": f"{package}.{kind}", "usual": usual}
            yield Listed(library, kind, spec, found.get("graph", False))


def build(model: Listed) -> tuple[nn.Module, Inputs]:
    """Make a model, as its library makes it, and what it is given.

    Args:
        model: What to make.

    Returns:
        The model, and a tensor, a tuple or a mapping of inputs.
    """
    spec = {k: v for k, v in model.spec.items() if k not in {"inputs", "batch_dim"}}
    return made(spec), given(model.spec["inputs"])


def made(spec: Any) -> Any:
    """Follow a description.

    Args:
        spec: A mapping with ``call``, ``"module:name"``, and keyword arguments, which
            may be such mappings; of ``usual`` those count that the call takes.

    Returns:
        What the call returned; a tuple for a list; else the value itself.
    """
    if isinstance(spec, list):
        return tuple(made(value) for value in spec)
    if not isinstance(spec, Mapping):
        return spec
    if "values" in spec:
        return torch.tensor(spec["values"])
    if "call" not in spec:
        return {key: made(value) for key, value in spec.items()}
    module, name = spec["call"].split(":")
    call = getattr(importlib.import_module(module), name)
    own = {k: made(v) for k, v in spec.items() if k not in {"call", "usual"}}
    takes = inspect.signature(call).parameters
    usual = {k: v for k, v in spec.get("usual", {}).items() if k in takes}
    return call(**usual | own)


def given(spec: Any) -> Any:
    """Draw inputs.

    Args:
        spec: ``"normal 2 3"``, ``"below 9 of 2 3"`` and the like; ``{"values": ...}``,
            ``{"grid": [H, W]}``, ``{"mask": shape}``, ``{"join": [...]}``; a list of
            these for positional arguments, a mapping for those with names.

    Returns:
        A tensor for one of them; else a tuple, or a mapping.
    """
    generator = torch.Generator().manual_seed(0)
    if isinstance(spec, list):
        values = tuple(_drawn(value, generator) for value in spec)
        return values if len(values) > 1 or isinstance(values[0], dict) else values[0]
    return {name: _drawn(value, generator) for name, value in spec.items()}


def _drawn(spec: Any, generator: torch.Generator) -> Any:
    if isinstance(spec, str):
        kind, *numbers = spec.replace(" of ", " ").split()
        return _KINDS[kind](list(map(int, numbers)), generator)
    if not isinstance(spec, dict):
        return spec
    for key, make in _SHAPED.items():
        if key in spec:
            return make(spec[key])
    if "join" in spec:
        return torch.cat([_drawn(part, generator) for part in spec["join"]], -1)
    return {name: _drawn(value, generator) for name, value in spec.items()}


def _grid(height: int, width: int) -> Tensor:
    """Return the places of patches, [H*W, 3]."""
    rows, columns = torch.arange(height), torch.arange(width)
    places = torch.cartesian_prod(rows, columns).double()
    return torch.cat([torch.zeros(len(places), 1), places], 1)


_SHAPED: dict[str, Callable[[Any], Tensor]] = {
    "values": torch.tensor,
    "grid": lambda sides: _grid(*sides),
    "mask": lambda shape: torch.ones(shape, dtype=torch.long),
}
_KINDS: dict[str, Callable[[list[int], torch.Generator], Tensor]] = {
    "normal": lambda shape, g: torch.randn(shape, generator=g, dtype=torch.float64),
    "uniform": lambda shape, g: torch.rand(shape, generator=g, dtype=torch.float64),
    "zeros": lambda shape, g: torch.zeros(shape, dtype=torch.float64),
    "below": lambda shape, g: torch.randint(shape[0], shape[1:], generator=g),
}
