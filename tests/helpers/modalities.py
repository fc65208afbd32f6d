"""A tiny model of every modality, with the inputs that its processor would make."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers as t
from torch import nn

from benchmarks.coverage.architectures import randomise
from benchmarks.coverage.shrink import shrink, table

B, TEXT = 2, 6


@dataclass(frozen=True)
class Case:
    """A model, how to make its inputs, and the scores that people expect.

    Attributes:
        kind: The class of transformers.
        inputs: Makes keyword arguments for a model.
        scores: ``{input: shape of its scores}``, of those that are read by default.
        settings: Of the configuration.
        target: What is explained; None for the arg-max.
    """

    kind: str
    inputs: Callable[[nn.Module], dict[str, Any]]
    scores: dict[str, tuple[int, ...]]
    settings: dict[str, Any] = field(default_factory=dict)
    target: Any = None


def model_of(case: Case, seed: int = 0) -> nn.Module:
    """Build a model in float64 with random weights, biases included."""
    torch.manual_seed(seed)
    kind = getattr(t, case.kind)
    settings = table()["architectures"].get(kind.config_class.model_type, {})
    default = kind.config_class(**case.settings.get("default", {}))
    own = {k: v for k, v in case.settings.items() if k != "default"}
    config = shrink(default, settings | own)
    return randomise(kind(config).eval()).double()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers."""
    made = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=made, dtype=torch.float64)


def tokens(model: nn.Module, length: int = TEXT) -> dict[str, torch.Tensor]:
    """Token ids, none of them special, and their mask."""
    made = torch.Generator().manual_seed(1)
    ids = torch.randint(6, 60, (B, length), generator=made)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def side_of(model: nn.Module) -> int:
    """The side of the images that a model sees."""
    config = getattr(model.config, "vision_config", model.config)
    size = getattr(config, "image_size", None) or 32
    return size if isinstance(size, int) else size[0]


def image(model: nn.Module, seed: int = 0) -> torch.Tensor:
    """A batch of images."""
    side = side_of(model)
    return noise(B, 3, side, side, seed=seed)


def with_image_tokens(model: nn.Module, count: int, **more: Any) -> dict[str, Any]:
    """Texts in which so many tokens stand for the image, which come first."""
    found = tokens(model, TEXT + count)
    config = model.config
    place = getattr(config, "image_token_id", None)
    place = getattr(config, "image_token_index", None) if place is None else place
    found["input_ids"][:, 1 : 1 + count] = place
    return {**found, **more}


def picture(model: nn.Module) -> dict[str, Any]:
    return {"pixel_values": image(model)}


def captioned(model: nn.Module) -> dict[str, Any]:
    return {**tokens(model), "pixel_values": image(model)}


def llava(model: nn.Module) -> dict[str, Any]:
    vision = model.config.vision_config
    count = (vision.image_size // vision.patch_size) ** 2
    return with_image_tokens(model, count, pixel_values=image(model))


def idefics(model: nn.Module) -> dict[str, Any]:
    vision = model.config.vision_config
    count = (vision.image_size // vision.patch_size) ** 2
    if hasattr(model.config, "scale_factor"):
        count //= model.config.scale_factor**2
    else:
        count = model.config.perceiver_config.resampler_n_latents
    pixels = noise(B, 1, 3, vision.image_size, vision.image_size)
    return with_image_tokens(model, count, pixel_values=pixels)


def paligemma(model: nn.Module) -> dict[str, Any]:
    found = llava(model)
    return {**found, "token_type_ids": torch.zeros_like(found["input_ids"])}


GRID = (1, 4, 6)
"""Time, height and width of an image in patches."""


def flattened(model: nn.Module) -> dict[str, Any]:
    """Patches of all images in one tensor, as Qwen's processors make them."""
    vision = model.config.vision_config
    frames, height, width = GRID
    merged = height * width // vision.spatial_merge_size**2
    channels = getattr(vision, "in_channels", 3)
    row = channels * vision.temporal_patch_size * vision.patch_size**2
    found = with_image_tokens(model, merged)
    kinds = (found["input_ids"] == model.config.image_token_id).long()
    return {
        **found,
        "mm_token_type_ids": kinds,
        "pixel_values": noise(B * frames * height * width, row),
        "image_grid_thw": torch.tensor([GRID] * B),
    }


def siglip2(model: nn.Module) -> dict[str, Any]:
    patch = model.config.vision_config.patch_size
    return {
        "input_ids": tokens(model)["input_ids"],
        "pixel_values": noise(B, 6, 3 * patch**2),
        "pixel_attention_mask": torch.ones(B, 6, dtype=torch.long),
        "spatial_shapes": torch.tensor([[2, 3]] * B),
    }


def clip(model: nn.Module) -> dict[str, Any]:
    return captioned(model)


def video(model: nn.Module) -> dict[str, Any]:
    side = side_of(model)
    return {"pixel_values": noise(B, model.config.num_frames, 3, side, side)}


def waveform(model: nn.Module) -> dict[str, Any]:
    return {"input_values": noise(B, 1200)}


def spoken(model: nn.Module) -> dict[str, Any]:
    return {**waveform(model), "decoder_input_ids": torch.full((B, 2), 3)}


def whisper(model: nn.Module) -> dict[str, Any]:
    config = model.config
    frames = 2 * config.max_source_positions
    return {
        "input_features": noise(B, config.num_mel_bins, frames),
        "decoder_input_ids": torch.full((B, 2), 3),
    }


def speech2text(model: nn.Module) -> dict[str, Any]:
    return {
        "input_features": noise(B, 24, model.config.input_feat_per_channel),
        "decoder_input_ids": torch.full((B, 2), 3),
    }


def ast(model: nn.Module) -> dict[str, Any]:
    config = model.config
    return {"input_values": noise(B, config.max_length, config.num_mel_bins)}


def clap(model: nn.Module) -> dict[str, Any]:
    return {
        **tokens(model),
        "input_features": noise(B, 1, 64, model.config.audio_config.num_mel_bins),
    }


def sounding(model: nn.Module) -> dict[str, Any]:
    audio = model.config.audio_config
    count = audio.max_source_positions // 2
    found = tokens(model, TEXT + count)
    found["input_ids"][:, 1 : 1 + count] = model.config.audio_token_id
    length = 2 * audio.max_source_positions
    return {
        **found,
        "input_features": noise(B, audio.num_mel_bins, length),
        "feature_attention_mask": torch.ones(B, length, dtype=torch.long),
    }


def series(model: nn.Module) -> dict[str, Any]:
    config = model.config
    return {"past_values": noise(B, config.context_length, config.num_input_channels)}


def forecast(model: nn.Module) -> dict[str, Any]:
    config = model.config
    past = config.context_length + max(config.lags_sequence)
    features = config.num_time_features
    return {
        "past_values": noise(B, past),
        "past_time_features": noise(B, past, features, seed=1),
        "past_observed_mask": torch.ones(B, past).double(),
        "future_values": noise(B, config.prediction_length, seed=2),
        "future_time_features": noise(B, config.prediction_length, features, seed=3),
    }


def regions(model: nn.Module) -> dict[str, Any]:
    config = model.config
    return {
        **tokens(model),
        "visual_feats": noise(B, 5, config.visual_feat_dim),
        "visual_pos": noise(B, 5, config.visual_pos_dim, seed=1),
    }


def pairwise(output: Any) -> torch.Tensor:
    return output.logits_per_text.diagonal()


def forecast_mean(output: Any) -> torch.Tensor:
    return output.params[1][:, 0]


PIXELS, IDS = "pixel_values", "input_ids"
_QWEN = {IDS: (B, TEXT + 6), PIXELS: (B, 32, 48)}
CASES = {
    "llava": Case(
        "LlavaForConditionalGeneration", llava, {IDS: (B, 22), PIXELS: (B, 32, 32)}
    ),
    "qwen2-vl": Case("Qwen2VLForConditionalGeneration", flattened, _QWEN),
    "qwen2.5-vl": Case("Qwen2_5_VLForConditionalGeneration", flattened, _QWEN),
    "qwen3-vl": Case("Qwen3VLForConditionalGeneration", flattened, _QWEN),
    "idefics3": Case(
        "Idefics3ForConditionalGeneration",
        idefics,
        {IDS: (B, 10), PIXELS: (B, 32, 32)},
    ),
    "idefics2": Case(
        "Idefics2ForConditionalGeneration",
        idefics,
        {IDS: (B, 70), PIXELS: (B, 32, 32)},
    ),
    "paligemma": Case(
        "PaliGemmaForConditionalGeneration",
        paligemma,
        {IDS: (B, 22), PIXELS: (B, 32, 32)},
    ),
    "blip": Case(
        "BlipForConditionalGeneration",
        captioned,
        {IDS: (B, TEXT), PIXELS: (B, 32, 32)},
    ),
    "git": Case("GitForCausalLM", captioned, {IDS: (B, TEXT), PIXELS: (B, 32, 32)}),
    "vilt": Case(
        "ViltForQuestionAnswering", captioned, {IDS: (B, TEXT), PIXELS: (B, 32, 32)}
    ),
    "clip": Case(
        "CLIPModel", clip, {IDS: (B, TEXT), PIXELS: (B, 32, 32)}, target=pairwise
    ),
    "siglip2": Case(
        "Siglip2Model", siglip2, {IDS: (B, TEXT), PIXELS: (B, 16, 24)}, target=pairwise
    ),
    "lxmert": Case(
        "LxmertForQuestionAnswering",
        regions,
        {IDS: (B, TEXT), "visual_feats": (B, 5)},
        target=lambda output: output.question_answering_score[:, 0],
    ),
    "whisper": Case(
        "WhisperForConditionalGeneration", whisper, {"input_features": (B, 128)}
    ),
    "speech2text": Case(
        "Speech2TextForConditionalGeneration", speech2text, {"input_features": (B, 24)}
    ),
    "wav2vec2-ctc": Case("Wav2Vec2ForCTC", waveform, {"input_values": (B, 1200)}),
    "wav2vec2": Case(
        "Wav2Vec2ForSequenceClassification", waveform, {"input_values": (B, 1200)}
    ),
    "speecht5": Case("SpeechT5ForSpeechToText", spoken, {"input_values": (B, 1200)}),
    "ast": Case("ASTForAudioClassification", ast, {"input_values": (B, 1024)}),
    "clap": Case(
        "ClapModel",
        clap,
        {IDS: (B, TEXT), "input_features": (B, 64)},
        target=pairwise,
    ),
    "qwen2-audio": Case(
        "Qwen2AudioForConditionalGeneration",
        sounding,
        {IDS: (B, 38), "input_features": (B, 128)},
    ),
    "vit": Case("ViTForImageClassification", picture, {PIXELS: (B, 32, 32)}),
    "deit": Case(
        "DeiTForImageClassificationWithTeacher", picture, {PIXELS: (B, 32, 32)}
    ),
    "dinov2-registers": Case(
        "Dinov2WithRegistersForImageClassification", picture, {PIXELS: (B, 32, 32)}
    ),
    "videomae": Case(
        "VideoMAEForVideoClassification", video, {PIXELS: (B, 16, 32, 32)}
    ),
    "vivit": Case("VivitForVideoClassification", video, {PIXELS: (B, 32, 32, 32)}),
    "patchtst": Case(
        "PatchTSTForPrediction",
        series,
        {"past_values": (B, 3, 64)},
        {"num_input_channels": 3},
        target=lambda output: output.prediction_outputs[:, 0, 0],
    ),
    "time-series": Case(
        "TimeSeriesTransformerForPrediction",
        forecast,
        {"past_values": (B, 71)},
        {"default": {"prediction_length": 4}, "prediction_length": 4},
        target=forecast_mean,
    ),
    "yolos": Case(
        "YolosForObjectDetection",
        picture,
        {PIXELS: (B, 32, 32)},
        target=lambda output: output.logits[:, 0, 0],
    ),
}
