"""Random inputs of models that see, hear or forecast, by what their forward names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.attribution.settings import setting

BATCH = 2
LENGTH = 8
Inputs = dict[str, Any]
TILES = 2
"""Parts of an image that is cut, besides the whole."""
GRID = (1, 4, 4)
"""Frames, height and width of an image whose patches a processor merges."""


def content_inputs(model: nn.Module, ids: Tensor, generator: torch.Generator) -> Inputs:
    """Draw what a model sees or hears, and the text that goes with it.

    Args:
        model: The model.
        ids: A text, ``[B, T]``, for those that read one.
        generator: Draws the numbers.

    Returns:
        Keyword arguments.
    """
    names = list(inspect.signature(model.forward).parameters)
    found: Inputs = {}
    for name in names:
        if name in _DRAWN:
            made = _DRAWN[name](model, generator)
            found |= made if isinstance(made, dict) else {name: made}
    if "input_ids" in names:
        found |= _text(model, ids, found, names)
    if "decoder_input_ids" in names and model.config.is_encoder_decoder:
        found["decoder_input_ids"] = ids[:, :5]
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in names and "input_ids" in found and name.startswith("mm"):
            places = found["input_ids"] == _place_of_image(model)
            found[name] = places.long()
    return found


def _text(model: nn.Module, ids: Tensor, found: Inputs, names: list[str]) -> Inputs:
    """Put so many image tokens into a text as the model makes of the image."""
    place = _place_of_image(model)
    count = _count(model, found) if place is not None else 0
    if count:
        start = torch.full((len(ids), count), place)
        ids = torch.cat([ids[:, :-2], start, ids[:, -2:]], 1)
    text = {"input_ids": ids}
    if "attention_mask" in names:
        text["attention_mask"] = torch.ones_like(ids)
    return text


def _place_of_image(model: nn.Module) -> int | None:
    config = model.config
    kinds = (
        "image_token_id",
        "image_token_index",
        "audio_token_id",
        "audio_token_index",
    )
    found = (getattr(config, kind, None) for kind in kinds)
    return next((int(i) for i in found if isinstance(i, int)), None)


def _count(model: nn.Module, found: Inputs) -> int:
    """Count the features of an image or a sound for each example."""
    inner = getattr(model, "model", model)
    for kind in ("image", "audio"):
        get = getattr(inner, f"get_{kind}_features", None)
        if get is None:
            continue
        takes = inspect.signature(get).parameters
        given = {k: v for k, v in found.items() if k in takes}
        if not given:
            continue
        with torch.no_grad():
            made = get(**given)
        made = getattr(made, "pooler_output", made)
        if made is None:
            continue
        parts = made if isinstance(made, list | tuple) else [made]
        rows = sum(p.numel() // p.shape[-1] for p in parts if isinstance(p, Tensor))
        return rows // BATCH
    return 0


def _dtype(model: nn.Module) -> torch.dtype:
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


def _drawn(model: nn.Module, generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(
        _dtype(model)
    )


def _side(model: nn.Module) -> tuple[int, int]:
    vision = getattr(model.config, "vision_config", model.config)
    size = getattr(vision, "image_size", None) or setting(model, "image_size") or 32
    if isinstance(size, dict):
        return size["height"], size["width"]
    return (size, size) if isinstance(size, int) else tuple(size)[-2:]  # type: ignore[return-value]


def _pixels(model: nn.Module, generator: torch.Generator) -> Any:
    names = inspect.signature(model.forward).parameters
    height, width = _side(model)
    channels = setting(model, "num_channels", "in_channels", "in_chans") or 3
    patch = setting(model, "patch_size") or 8
    patch = patch if isinstance(patch, int) else patch[-1]
    if "image_grid_thw" in names:
        times = setting(model, "temporal_patch_size") or 1
        rows = BATCH * GRID[0] * GRID[1] * GRID[2]
        values = _drawn(model, generator, rows, channels * times * patch**2)
        return {"pixel_values": values, "image_grid_thw": torch.tensor([GRID] * BATCH)}
    if "spatial_shapes" in names:
        return {
            "pixel_values": _drawn(model, generator, BATCH, 4, channels * patch**2),
            "pixel_attention_mask": torch.ones(BATCH, 4, dtype=torch.long),
            "spatial_shapes": torch.tensor([[2, 2]] * BATCH),
        }
    shape = [BATCH, channels, height, width]
    frames = getattr(model.config, "num_frames", None)
    if isinstance(frames, int):
        shape.insert(1, frames)
    elif setting(model, "image_grid_pinpoints") is not None:
        shape.insert(1, 1 + TILES)
    elif "pixel_attention_mask" in names or "idefics" in model.config.model_type:
        shape.insert(1, 1)  # several images an example
        return {
            "pixel_values": _drawn(model, generator, *shape),
            "pixel_attention_mask": torch.ones(BATCH, 1, height, width).bool(),
        }
    return _drawn(model, generator, *shape)


def _sizes(model: nn.Module, generator: torch.Generator) -> Any:
    if "pixel_values" not in inspect.signature(model.forward).parameters:
        return {}
    return torch.tensor([_side(model)] * BATCH)


def _fine(model: nn.Module, generator: torch.Generator) -> Tensor:
    """Draw an image at its second, higher resolution."""
    side = model.config.high_res_vision_config.image_size
    return _drawn(model, generator, BATCH, 3, side, side)


def _question(model: nn.Module, generator: torch.Generator) -> Tensor:
    """Return ids of what a querying Transformer reads beside an image."""
    return torch.randint(5, 16, (BATCH, 4), generator=generator)


def _videos(model: nn.Module, generator: torch.Generator) -> Any:
    if "pixel_values" in inspect.signature(model.forward).parameters:
        return {}
    height, width = _side(model)
    frames = setting(model, "frames_per_clip", "num_frames") or 4
    return _drawn(model, generator, BATCH, frames, 3, height, width)


def _features(model: nn.Module, generator: torch.Generator) -> Any:
    bands = setting(model, "num_mel_bins", "input_feat_per_channel", "n_mels") or 16
    bands = setting(model, "feature_projection_input_dim") or bands
    frames = 2 * (setting(model, "max_source_positions") or 16)
    first = setting(model, "max_source_positions") and hasattr(
        model.config, "num_mel_bins"
    )
    last = "Speech2Text" in type(model).__name__ or not first
    shape = (frames, bands) if last else (bands, frames)
    if "Clap" in type(model).__name__:
        shape = (1, 64, bands)
    return _drawn(model, generator, BATCH, *shape)


def _values(model: nn.Module, generator: torch.Generator) -> Tensor:
    config = model.config
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):  # AST
        return _drawn(model, generator, BATCH, config.max_length, config.num_mel_bins)
    long = "XVector" in type(model).__name__
    return _drawn(model, generator, BATCH, 6400 if long else 1200)


def _series(model: nn.Module, generator: torch.Generator) -> Any:
    config = model.config
    if hasattr(config, "num_input_channels"):
        shape = (config.context_length, config.num_input_channels)
        return _drawn(model, generator, BATCH, *shape)
    return _drawn(model, generator, BATCH, getattr(config, "context_length", 64))


def _regions(model: nn.Module, generator: torch.Generator) -> Tensor:
    return _drawn(model, generator, BATCH, 4, model.config.visual_feat_dim)


def _places(model: nn.Module, generator: torch.Generator) -> Tensor:
    return _drawn(model, generator, BATCH, 4, model.config.visual_pos_dim)


_DRAWN: dict[str, Callable[[nn.Module, torch.Generator], Any]] = {
    "pixel_values": _pixels,
    "high_res_pixel_values": _fine,
    "image_sizes": _sizes,
    "image_merge_sizes": lambda *_: torch.ones(BATCH, dtype=torch.long),
    "qformer_input_ids": _question,
    "pixel_values_videos": _videos,
    "input_features": _features,
    "input_values": _values,
    "past_values": _series,
    "visual_feats": _regions,
    "visual_pos": _places,
}
