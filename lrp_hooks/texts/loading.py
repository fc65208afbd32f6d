"""Models and tokenizers from local folders; nothing is fetched from anywhere."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import transformers
from torch import nn

from ..errors import ModelFolderError

__all__ = [
    "load_folder",
    "load_model",
    "load_processor",
    "load_tokenizer",
    "reads_pictures",
    "takes",
]

_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_AUTO = {
    "image processor": "AutoImageProcessor",
    "feature extractor": "AutoFeatureExtractor",
    "processor": "AutoProcessor",
}
_OPTIONS = {
    "pixel_values": "--image",
    "input_values": "--audio",
    "input_features": "--audio",
}
"""Of a command that takes what a model reads."""


def load_folder(folder: str | PathLike[str]) -> tuple[nn.Module, Any]:
    """Load what ``save_pretrained`` wrote of a model and its tokenizer.

    Args:
        folder: A folder on this machine.

    Returns:
        The model, in float32 and eval mode, and the tokenizer.
    """
    path = _check_folder(folder)
    _check_reads(path, _load_config(path))  # else the tokenizer is blamed for it
    tokenizer = load_tokenizer(folder)  # before the model, since it is quicker to fail
    return load_model(folder), tokenizer


def _check_reads(path: Path, config: Any) -> None:
    """Refuse a model that reads no texts.

    Raises:
        ModelFolderError: If it reads something else.
    """
    kind = _class_named(path, config)
    takes = getattr(kind, "main_input_name", "input_ids")
    if takes != "input_ids":
        option = ""
        if takes in _OPTIONS:
            option = f"Pass {_OPTIONS[takes]} FILE to explain or compare. "
        raise ModelFolderError(
            f"the folder {str(path)!r} holds a {kind.__name__}, which reads {takes!r}, "
            f"no texts. {option}lrp-hooks rules takes it; in Python, explain it by "
            f"instrument(model).attribute({{{takes!r}: tensor}})."
        )


def reads_pictures(folder: str | PathLike[str]) -> bool:
    """Tell a model whose main input is a picture.

    Args:
        folder: A folder on this machine.

    Returns:
        True where it reads pixel values.
    """
    return getattr(_class_in(folder), "main_input_name", "input_ids") == "pixel_values"


def takes(folder: str | PathLike[str], *names: str) -> bool:
    """Tell what a model's ``forward`` names.

    Args:
        folder: A folder on this machine.
        *names: Of inputs.

    Returns:
        Whether it takes any of them.
    """
    named = inspect.signature(_class_in(folder).forward).parameters
    return any(name in named for name in names)


def _class_in(folder: str | PathLike[str]) -> Any:
    path = _check_folder(folder)
    return _class_named(path, _load_config(path))


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
    kind = _class_named(path, config)
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
    limit = tokenizer.model_max_length
    if not (isinstance(limit, int | float) and limit > 0):
        raise ModelFolderError(
            f"the tokenizer in {str(folder)!r} says model_max_length={limit!r}; it "
            "must be a number of tokens."
        )
    return tokenizer


def load_processor(folder: str | PathLike[str], kind: str = "image processor") -> Any:
    """Load what makes a model's inputs of pictures and sounds.

    Args:
        folder: A folder on this machine.
        kind: ``"image processor"``, ``"feature extractor"`` of sounds, or
            ``"processor"`` of either with texts.

    Returns:
        It.
    """
    path = _check_folder(folder)
    return _load(path, getattr(transformers, _AUTO[kind]).from_pretrained, kind)


def _check_folder(folder: str | PathLike[str]) -> Path:
    """Return the folder as a path.

    Raises:
        ModelFolderError: If it is no folder, or one without a configuration.
    """
    path = Path(folder)
    try:
        found = path.exists()
        has_config = (path / "config.json").is_file()
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
    if not has_config:
        raise ModelFolderError(
            f"the folder {str(folder)!r} holds no model: there is no config.json. Save "
            "a model there with save_pretrained()."
        )
    return path


def _class_named(path: Path, config: Any) -> Any:
    """Return the model class that a configuration names.

    Raises:
        ModelFolderError: If what it names is no model.
    """
    names = getattr(config, "architectures", None) or []
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    found = [getattr(transformers, n, None) for n in names] if listed else [names]
    for kind in found:
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            return kind
    if any(kind is not None for kind in found):
        raise ModelFolderError(
            f"the configuration in {str(path)!r} says architectures="
            f"{shorten(repr(names), 100)}; it must be a list of transformers' model "
            "classes, such as ['BertForSequenceClassification']."
        )
    return transformers.AutoModelForSequenceClassification


def _load_config(path: Path) -> Any:
    return _load(path, _checked_config, "configuration")


def _checked_config(folder: str, **options: Any) -> Any:
    """Return a configuration whose numbers a model can be built with."""
    path = Path(folder)
    text = (path / "config.json").read_text("utf-8")
    given = json.loads(text, parse_constant=_number)
    _check_sizes(given, sum(file.stat().st_size for file in path.iterdir()))
    config = transformers.AutoConfig.from_pretrained(folder, **options)
    for name, label in (getattr(config, "label2id", None) or {}).items():
        if not isinstance(label, int):
            raise TypeError(f"label2id[{name!r}] is {label!r}, no whole number")
    return config


def _number(name: str) -> float:
    if name == "NaN":
        raise ValueError("it holds a NaN")
    return float(name)  # time_step_limit of Mamba ends with Infinity


def _check_sizes(given: Any, size: int) -> None:
    """Refuse sizes that no weights of so many bytes have, before they are built."""
    for key, value in given.items() if isinstance(given, dict) else ():
        is_size = key.startswith(("num_", "n_")) or key.endswith(("_size", "_dim"))
        if is_size and isinstance(value, int) and value > size:
            raise ValueError(f"{key} is more than the folder has bytes, {size}")
        _check_sizes(value, size)


def _load(path: Path, load: Callable[..., Any], what: str, **options: Any) -> Any:
    """Return what transformers loads.

    Raises:
        ModelFolderError: If it cannot.
    """
    try:
        return load(str(path), **_LOCAL, **options)
    # Damaged files raise anything, the tokenizers library even a bare Exception.
    except BaseException as error:  # its panics are no Exception at all
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = shorten(str(error), 250)
        raise ModelFolderError(
            f"the {what} in {str(path)!r} cannot be loaded: {reason}"
        ) from error
