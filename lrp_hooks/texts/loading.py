"""Models and tokenizers from local folders; nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import transformers
from torch import nn

from ..errors import ModelFolderError

__all__ = ["load_folder", "load_model", "load_tokenizer"]

_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_folder(folder: str | PathLike[str]) -> tuple[nn.Module, Any]:
    """Load what ``save_pretrained`` wrote of a model and its tokenizer.

    Args:
        folder: A folder on this machine.

    Returns:
        The model, in float32 and eval mode, and the tokenizer.
    """
    _load_config(_check_folder(folder))  # else the tokenizer is blamed for it
    tokenizer = load_tokenizer(folder)  # before the model, since it is quicker to fail
    return load_model(folder), tokenizer


def load_model(folder: str | PathLike[str]) -> nn.Module:
    """Load a model as the class that its configuration names.

    Args:
        folder: A folder on this machine.

    Returns:
        The model, in float32 and eval mode.

    Raises:
        ModelFolderError: If the folder holds no model, or weights that do not fit.
    """
    path = _check_folder(folder)
    config = _load_config(path)
    names = getattr(config, "architectures", None) or []
    known = [getattr(transformers, n) for n in names if hasattr(transformers, n)]
    kind = known[0] if known else transformers.AutoModelForSequenceClassification
    model, report = _load(
        path,
        kind.from_pretrained,
        "weights",
        dtype=torch.float32,  # folders in half precision would stay in it
        ignore_mismatched_sizes=True,  # reported below, with the names
        output_loading_info=True,
    )
    absent = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    if absent:
        raise ModelFolderError(
            f"the weights in {str(folder)!r} lack or do not fit {len(absent)} tensors "
            f"of a {kind.__name__}, {sorted(absent)[0]!r} among them. Save the whole "
            "trained model with save_pretrained()."
        )
    loaded: nn.Module = model.eval()
    return loaded


def load_tokenizer(folder: str | PathLike[str]) -> Any:
    """Load a tokenizer.

    Args:
        folder: A folder on this machine.

    Returns:
        The tokenizer.

    Raises:
        ModelFolderError: If the folder holds none.
    """
    path = _check_folder(folder)
    tokenizer = _load(path, transformers.AutoTokenizer.from_pretrained, "tokenizer")
    # Without its files, transformers makes one that knows special tokens alone.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelFolderError(
            f"the folder {str(folder)!r} holds no tokenizer. Save it there with "
            "tokenizer.save_pretrained()."
        )
    return tokenizer


def _check_folder(folder: str | PathLike[str]) -> Path:
    """Return the folder as a path.

    Raises:
        ModelFolderError: If it is no folder, or one without a configuration.
    """
    path = Path(folder)
    try:
        found = path.exists()
    except OSError as error:
        raise ModelFolderError(
            f"the folder {str(folder)!r} has no valid name: {error}."
        ) from error
    if not found:
        raise ModelFolderError(f"the folder {str(folder)!r} does not exist.")
    if not path.is_dir():
        raise ModelFolderError(
            f"{str(folder)!r} is a file. Name the folder that holds config.json."
        )
    if not (path / "config.json").is_file():
        raise ModelFolderError(
            f"the folder {str(folder)!r} holds no model: there is no config.json. Save "
            "a model there with save_pretrained()."
        )
    return path


def _load_config(path: Path) -> Any:
    return _load(path, transformers.AutoConfig.from_pretrained, "configuration")


def _load(path: Path, load: Callable[..., Any], what: str, **options: Any) -> Any:
    """Return what transformers loads.

    Raises:
        ModelFolderError: If it cannot.
    """
    try:
        return load(str(path), **_LOCAL, **options)
    # Damaged files raise anything, the tokenizers library even a bare Exception.
    except Exception as error:
        reason = shorten(str(error), 250)
        raise ModelFolderError(
            f"the {what} in {str(path)!r} cannot be loaded: {reason}"
        ) from error
