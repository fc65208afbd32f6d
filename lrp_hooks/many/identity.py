"""What tells a model with its tokenizer, and the software under it, from others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__

__all__ = ["identity_of", "print_of"]

_PACKAGES = ("captum", "numpy", "tokenizers", "torch", "transformers")
# What the same model and tokenizer say otherwise once they were saved, moved or used:
# an evaluation pads by itself, and cuts nothing.
_PASSING = frozenset(
    "_name_or_path architectures dtype is_local local_files_only max_length "
    "name_or_path pad_to_multiple_of pad_token_type_id padding padding_side stride "
    "transformers_version truncation truncation_side truncation_strategy".split()
)


def identity_of(model: nn.Module, tokenizer: Any) -> dict[str, str]:
    """Describe what decides the numbers of an evaluation, besides what is asked for.

    Args:
        model: Any module.
        tokenizer: A Hugging Face tokenizer.

    Returns:
        ``"weights"``, ``"config"`` and ``"tokenizer"`` as digests, and the versions of
        this library, of those that it computes with and of those that bring it rules.
    """
    config: Any = getattr(model, "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    bringing = {e.dist for e in entry_points(group="lrp_hooks.rules")} - {None}
    return {
        "weights": _weights(model),
        "config": hashlib.sha256(_lasting(settings)).hexdigest(),
        "tokenizer": _tokenizer(tokenizer),
        **{name: version(name) for name in _PACKAGES},
        **{found.name: found.version for found in bringing if found is not None},
        "lrp_hooks": __version__,
    }


def print_of(value: Any) -> Any:
    """Tell an option from another one.

    Args:
        value: Any.

    Returns:
        JSON-able: what is plain as it is, tensors and functions by a digest, anything
        else by its print.
    """
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): print_of(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [print_of(own) for own in value]
    if isinstance(value, Tensor):
        return hashlib.sha256(repr(value.tolist()).encode()).hexdigest()
    code = getattr(value, "__code__", None)
    if code is not None:  # its address is another one each time
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        said = (
            code.co_code,
            print_of([c for c in code.co_consts if not hasattr(c, "co_code")]),
            code.co_names,
            print_of(held),
        )
        return f"{value.__qualname__} {hashlib.sha256(repr(said).encode()).hexdigest()}"
    return str(value)


def _weights(model: nn.Module) -> str:
    """Return a digest of a model's class and of its tensors."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        )
    return digest.hexdigest()


def _tokenizer(tokenizer: Any) -> str:
    """Return a digest of the files that a tokenizer is made of."""
    digest = hashlib.sha256(type(tokenizer).__name__.encode())
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                if path.suffix == ".json":
                    content = _lasting(json.loads(content))
                digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _lasting(settings: Any) -> bytes:
    """Return as JSON what of settings does not change by saving or use."""
    kept = settings
    if isinstance(settings, dict):
        kept = {str(k): v for k, v in settings.items() if k not in _PASSING}
    return json.dumps(kept, sort_keys=True, default=str).encode()
