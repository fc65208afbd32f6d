"""Named tensors with JSON beside them, in one file: safetensors, or JSON for all.

Both give every number back as it was; of a NaN in JSON, that it is one. Nothing in a
file is ever executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["check_ending", "pack", "packable", "unpack"]

Head = dict[str, str]
ENDINGS = ("", ".safetensors", ".json")
# What JSON has no number for.
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


def check_ending(path: str | PathLike[str]) -> None:
    """Refuse a file name that promises another format.

    Args:
        path: The file.

    Raises:
        ArgumentError: If it ends in anything else; no ending means safetensors.
    """
    if Path(path).suffix.lower() not in ENDINGS:
        raise ArgumentError(
            f"path {str(path)!r} ends in {Path(path).suffix!r}; name a file that ends "
            "in '.safetensors' or '.json', which are the formats that can be read back."
        )


def packable(
    path: str | PathLike[str], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return tensors as a file gives them back.

    Args:
        path: The file.
        tensors: On the CPU.

    Returns:
        The same to the bit, but for what a NaN in JSON carries.

    Raises:
        ArgumentError: If the format cannot hold one of them.
    """
    if not _is_json(path):
        return dict(tensors)
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise ArgumentError(
                f"{name} holds {tensor.dtype}, which JSON cannot. Name a file that "
                "ends in '.safetensors'."
            )
    return {
        name: t.masked_fill(t.isnan(), math.nan) if t.is_floating_point() else t
        for name, t in tensors.items()
    }


def pack(path: str | PathLike[str], head: Head, tensors: Mapping[str, Tensor]) -> bytes:
    """Return a file's bytes, in the format that its ending says.

    Args:
        path: The file.
        head: Strings; that of the key ``"content"`` is JSON.
        tensors: On the CPU and contiguous.

    Returns:
        The bytes.
    """
    if not _is_json(path):
        packed: bytes = safetensors.torch.save(dict(tensors), head)
        return packed
    whole = {
        **head,
        "content": json.loads(head["content"]),
        "tensors": {name: _listed(tensor) for name, tensor in tensors.items()},
    }
    return json.dumps(whole, allow_nan=False).encode()


def unpack(
    path: str | PathLike[str], check: Callable[[Head], None]
) -> tuple[Head, dict[str, Tensor]]:
    """Read a file.

    Args:
        path: The file.
        check: Given the head, raises where the rest is not to be read: it may be of a
            newer format.

    Returns:
        Its head, empty where there is none, and its tensors.
    """
    return (_read_json if _is_json(path) else _read_safetensors)(path, check)


def _read_safetensors(
    path: str | PathLike[str], check: Callable[[Head], None]
) -> tuple[Head, dict[str, Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        head = file.metadata() or {}
        check(head)
        # A copy: what safetensors hands out is a map of the file.
        return head, {name: file.get_tensor(name).clone() for name in file.keys()}


def _read_json(
    path: str | PathLike[str], check: Callable[[Head], None]
) -> tuple[Head, dict[str, Tensor]]:
    whole = json.loads(Path(path).read_bytes())
    head = whole if isinstance(whole, dict) else {}
    check(head)
    head["content"] = json.dumps(head["content"])
    listed = head.pop("tensors")
    return head, {name: _unlisted(entry) for name, entry in listed.items()}


def _is_json(path: str | PathLike[str]) -> bool:
    return Path(path).suffix.lower() == ".json"


def _listed(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as plain numbers."""
    values = [_plain(value) for value in tensor.reshape(-1).tolist()]
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(tensor.shape), "values": values}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return next(
            word
            for word, number in _WORDS.items()
            if number == value or value != value  # noqa: PLR0124 (only NaN is not itself)
        )
    return value


def _unlisted(entry: Any) -> Tensor:
    """Return the tensor that plain numbers stand for.

    Raises:
        ValueError: If they are none of that type and shape.
    """
    numbers = [_WORDS.get(v, v) if isinstance(v, str) else v for v in entry["values"]]
    try:
        return torch.tensor(numbers, dtype=_DTYPES[entry["dtype"]]).reshape(
            entry["shape"]
        )
    except RuntimeError as error:
        raise ValueError(f"a tensor does not fit its type or shape: {error}") from error
