"""Random inputs that fit a model's forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .architectures import TEXT
from .content import content_inputs
from .shrink import FIRST_TOKEN_ID

BATCH = 2
LENGTH = 8
DECODER_LENGTH = 5
Inputs = dict[str, Any]
DECODED = {"seq2seq-lm", "causal-lm"}


def random_inputs(model: nn.Module, task: str, seed: int = 0) -> Inputs:
    """Draw what the model's forward takes: tokens or an image, and what goes with it.

    Args:
        model: The model.
        task: The task, a key of `architectures.TASKS`.
        seed: Of the draw.

    Returns:
        Keyword arguments, an attention mask of ones among them.
    """
    generator = torch.Generator().manual_seed(seed)
    names = list(inspect.signature(model.forward).parameters)
    if task not in TEXT or "visual_feats" in names:
        return content_inputs(model, _ids(model, LENGTH, generator), generator)
    if task == "image-classification" and "input_ids" not in names[:1]:
        return _images(model, names, generator)
    main = getattr(model, "main_input_name", "input_ids")
    main = main if main in {"inputs", "input_ids"} else "input_ids"
    found: Inputs = {main: _ids(model, LENGTH, generator)}
    if "attention_mask" in names:
        found["attention_mask"] = torch.ones(BATCH, LENGTH, dtype=torch.long)
    for name in names:
        if name in _EXTRA and (name != "pixel_values" or _needs_image(model)):
            found[name] = _EXTRA[name](model, generator)
    if task == "multiple-choice":
        return {k: v[:, None].repeat_interleave(2, 1) for k, v in found.items()}
    if task in DECODED and _decodes(model):
        found["decoder_input_ids"] = _ids(model, DECODER_LENGTH, generator)
    return found


def _decodes(model: nn.Module) -> bool:
    config = model.config
    names = inspect.signature(model.forward).parameters
    return bool(config.is_encoder_decoder) and "decoder_input_ids" in names


def _ids(model: nn.Module, length: int, generator: torch.Generator) -> Tensor:
    config = model.config.get_text_config()
    size = getattr(config, "vocab_size", None) or 64
    lowest = min(FIRST_TOKEN_ID, size - 1)
    ids = torch.randint(lowest, size, (BATCH, length), generator=generator)
    eos = getattr(config, "eos_token_id", None)
    if config.is_encoder_decoder and isinstance(eos, int):
        ids[:, -1] = eos  # where some read the class
    return ids


def _images(model: nn.Module, names: list[str], generator: torch.Generator) -> Inputs:
    config = getattr(model.config, "vision_config", model.config)
    size = getattr(config, "image_size", None) or 32
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = getattr(config, "num_channels", None) or 3
    shape = (BATCH, channels, height, width)
    dtype = next(model.parameters()).dtype
    image = torch.randn(shape, generator=generator, dtype=dtype)
    name = "pixel_values" if "pixel_values" in names else model.main_input_name
    if "spatial_shapes" in names:
        return _patches(image, config.patch_size)
    return {name: image}


def _patches(image: Tensor, size: int) -> Inputs:
    """Cut an image as models do that take patches of any aspect ratio."""
    rows, columns = image.shape[2] // size, image.shape[3] // size
    cut = image[..., : rows * size, : columns * size].unfold(2, size, size)
    flat = cut.unfold(3, size, size).permute(0, 2, 3, 4, 5, 1)
    values = flat.reshape(BATCH, rows * columns, -1)
    return {
        "pixel_values": values,
        "pixel_attention_mask": torch.ones(values.shape[:2], dtype=torch.long),
        "spatial_shapes": torch.tensor([[rows, columns]] * BATCH),
    }


def _needs_image(model: nn.Module) -> bool:
    return model.config.model_type in {"layoutlmv2"}


def _boxes(model: nn.Module, generator: torch.Generator) -> Tensor:
    corners = torch.randint(0, 30, (BATCH, LENGTH, 2), generator=generator)
    sizes = torch.randint(1, 30, (BATCH, LENGTH, 2), generator=generator)
    return torch.cat([corners, corners + sizes], -1)


_EXTRA: dict[str, Callable[[nn.Module, torch.Generator], Any]] = {"bbox": _boxes}
