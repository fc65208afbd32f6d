"""Explanations in one file: tensors bit by bit, the rest as JSON.

Nothing in a file is executed. Its JSON names classes, which must be explanations or
dataclasses of this library, and a digest tells a damaged file from a whole one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast

import safetensors
import torch
from torch import Tensor

from ..errors import ArgumentError
from ..support.files import write_whole
from ..support.hints import hints_of, misfit
from .containers import Head, check_ending, pack, packable, unpack

__all__ = ["load", "load_as", "save"]

Kind = TypeVar("Kind")

FORMAT = "lrp_hooks.explanation"
VERSION = 1
_PACKAGE = __name__.partition(".")[0]
_KIND = "$"  # the key that marks a JSON object as something else than plain JSON


def save(explanation: object, path: str | PathLike[str]) -> None:
    """Write a dataclass of tensors and JSON-able values.

    Args:
        explanation: The object to write.
        path: The file, ``.safetensors`` or ``.json``; an older one is replaced once
            this one is whole.
    """
    check_ending(path)
    encoder = _Encoder()
    content = json.dumps(encoder.encode(explanation, type(explanation).__name__))
    tensors = packable(path, encoder.tensors)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "content": content,
        "digest": _digest(content, tensors),
    }
    write_whole({path: pack(path, metadata, tensors)})


def load(path: str | PathLike[str], base: type) -> object:
    """Read what ``save`` wrote.

    Args:
        path: The file to read.
        base: Classes outside of this library must be subclasses of it.

    Returns:
        The object, its tensors on the CPU.

    Raises:
        ArgumentError: If the file cannot be read, is damaged, holds something else or
            was written by a newer version.
    """
    check_ending(path)
    try:
        head, tensors = _read(path)
        return _decode(json.loads(head["content"]), tensors, base)
    except ArgumentError:
        raise
    except OSError as error:
        raise ArgumentError(_unreadable(path, error.strerror or error)) from error
    except _Unfit as error:
        raise ArgumentError(_unreadable(path, error)) from error
    except _DAMAGE as error:
        reason = f"it is damaged ({type(error).__name__}: {error})"
        raise ArgumentError(_unreadable(path, reason)) from error


def load_as(path: str | PathLike[str], wanted: type[Kind], base: type) -> Kind:
    """Read what ``save`` wrote, as the class that it was.

    Args:
        path: The file to read.
        wanted: The class that it must be of.
        base: See `load`.

    Returns:
        The object.

    Raises:
        ArgumentError: If the file holds something else.
    """
    found = load(path, base)
    if not isinstance(found, wanted):
        raise ArgumentError(
            f"path {str(path)!r} holds a {type(found).__name__}, not a "
            f"{wanted.__name__}. Read it with {type(found).__name__}.load(path)."
        )
    return found


# What a file raises that is not as it was written.
_DAMAGE = (
    safetensors.SafetensorError,
    AttributeError,
    LookupError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Unfit(ValueError):
    """What is wrong with a file, in a sentence."""


@dataclass
class _Encoder:
    """Turns a value into JSON, and collects the tensors that the JSON refers to."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def encode(self, value: object, where: str) -> object:
        """Return the JSON of a value; ``where`` names it in errors and in the file.

        Raises:
            ArgumentError: If JSON and tensors cannot express the value.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return _plain(value)
        if isinstance(value, Tensor):
            return self._encode_tensor(value, where)
        if isinstance(value, Mapping) and not is_dataclass(value):
            return self._encode_mapping(value, where)
        if isinstance(value, (list, tuple)):
            return self._encode_entries(value, where)
        if is_dataclass(value) and not isinstance(value, type):
            kept = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
            return self._encode_fields(value, kept, where)
        if callable(value):
            return getattr(value, "__name__", type(value).__name__)
        raise ArgumentError(
            f"{where} is a {type(value).__name__}, which cannot be saved. Use tensors, "
            "numbers, strings, lists and dictionaries."
        )

    def _encode_entries(self, value: Any, where: str) -> object:
        if hasattr(value, "_asdict"):  # a named tuple
            return self._encode_fields(value, value._asdict(), where)
        if len(value) > 1 and all(entry is value[0] for entry in value):
            item = value[0]
            if isinstance(item, list | dict) and type(value) is list:
                once = self.encode(item, f"{where}.0")
                return {_KIND: "repeated", "times": len(value), "item": once}
        entries = [self.encode(v, f"{where}.{i}") for i, v in enumerate(value)]
        return entries if type(value) is list else {_KIND: "tuple", "items": entries}

    def _encode_tensor(self, value: Tensor, name: str) -> object:
        while name in self.tensors:  # a key with a dot may read like a nested one
            name += "'"
        # A copy: safetensors refuses tensors that share memory. A tensor of one number
        # counts as contiguous whatever its strides.
        held = value.detach().cpu()
        self.tensors[name] = held.clone(memory_format=torch.contiguous_format)
        return {_KIND: "tensor", "name": name}

    def _encode_mapping(self, value: Mapping[Any, Any], where: str) -> object:
        for key in value:
            if not (key is None or isinstance(key, (bool, int, float, str))):
                raise ArgumentError(
                    f"{where} has the key {key!r}, which cannot be saved. Use strings "
                    "or numbers as keys."
                )
        items = [[_plain(k), self.encode(v, f"{where}.{k}")] for k, v in value.items()]
        return {_KIND: "dict", "items": items}

    def _encode_fields(self, value: Any, kept: Mapping[str, Any], where: str) -> object:
        kind = type(value)
        return {
            _KIND: "object",
            "class": f"{_home(kind)}:{kind.__qualname__}",
            "fields": {
                name: self.encode(each, f"{where}.{name}")
                for name, each in kept.items()
            },
        }


def _home(kind: type) -> str:
    """Return where a class is imported from: its public home, which does not move."""
    public = getattr(sys.modules[_PACKAGE], kind.__qualname__, None)
    return _PACKAGE if public is kind else kind.__module__


def _plain(value: object) -> object:
    """Return what JSON has a word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_KIND: "float", "value": str(value)}
    return value


def _decode(node: Any, tensors: Mapping[str, Tensor], base: type) -> Any:
    """Return the value that a JSON node stands for.

    Raises:
        ArgumentError: If a class has other fields by now.
        _Unfit: If a field is not of its type.
    """
    if isinstance(node, list):
        return [_decode(entry, tensors, base) for entry in node]
    if not isinstance(node, dict):
        return node
    kind = node[_KIND]
    if kind in {"tensor", "float"}:
        return tensors[node["name"]] if kind == "tensor" else float(node["value"])
    if kind == "dict":
        return {
            _decode(key, tensors, base): _decode(value, tensors, base)
            for key, value in node["items"]
        }
    if kind in {"repeated", "tuple"}:
        return _decode_entries(node, tensors, base)
    values = {k: _decode(v, tensors, base) for k, v in node["fields"].items()}
    found = _find_class(node["class"], base)
    hints = hints_of(found)
    for name, value in values.items():
        wrong = misfit(value, hints.get(name, Any), f"{found.__name__}.{name}")
        if wrong is not None:
            raise _Unfit(f"it is damaged ({wrong})")
    try:
        return found(**values)
    except TypeError as error:
        raise ArgumentError(
            f"the file's {node['class']} does not fit this version of it ({error})."
        ) from error


def _decode_entries(node: Any, tensors: Mapping[str, Tensor], base: type) -> Any:
    """Return a tuple, or a list of one entry again and again."""
    if node[_KIND] == "repeated":
        return [_decode(node["item"], tensors, base)] * node["times"]
    return tuple(_decode(entry, tensors, base) for entry in node["items"])


def _find_class(name: str, base: type) -> type:
    """Return a class by ``module:name``, importing modules of this library alone.

    Raises:
        ArgumentError: If there is no such class, or none that may be loaded.
    """
    module_name, _, class_name = name.partition(":")
    ours = module_name.partition(".")[0] == _PACKAGE
    # Files of older versions name modules in which public classes no longer stand.
    public = getattr(sys.modules[_PACKAGE], class_name, None) if ours else None
    try:
        if ours and public is None:
            importlib.import_module(module_name)
        found = public or getattr(sys.modules[module_name], class_name)
    except (ImportError, KeyError, AttributeError) as error:
        raise ArgumentError(
            f"the file holds a {name}, which is not known here. Import the module that "
            "defines it, then load again."
        ) from error
    allowed = isinstance(found, type) and (
        issubclass(found, base)
        or (ours and (is_dataclass(found) or hasattr(found, "_asdict")))
    )
    if not allowed:
        raise ArgumentError(f"the file names {name}, which is no explanation.")
    return cast(type, found)


def _read(path: str | PathLike[str]) -> tuple[Head, dict[str, Tensor]]:
    """Return a whole file's head and its tensors."""
    if Path(path).is_dir():
        raise _Unfit("it is a folder")
    head, tensors = unpack(path, _check_head)
    if head["digest"] != _digest(head["content"], tensors):
        raise _Unfit("it is damaged (its digest does not match)")
    return head, tensors


def _check_head(head: Head) -> None:
    """Refuse what is no explanation, or is a newer one than can be read."""
    if head.get("format") != FORMAT:
        raise _Unfit(
            "it holds no explanation that save() wrote (what lrp-hooks writes with "
            "--json is for other programs)"
        )
    if int(head["version"]) > VERSION:
        raise _Unfit(
            f"its format is version {head['version']} and this lrp_hooks reads up to "
            f"{VERSION}; upgrade lrp_hooks"
        )


def _digest(content: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of everything in the file that decides what is loaded."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unreadable(path: str | PathLike[str], reason: object) -> str:
    return f"path {str(path)!r} cannot be read: {reason}."
