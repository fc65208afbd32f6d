"""What is listed: every class of the Auto classes of many tasks, and its tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto

from .shrink import tiny_config

TASKS = {
    "sequence-classification": "SEQUENCE_CLASSIFICATION",
    "token-classification": "TOKEN_CLASSIFICATION",
    "masked-lm": "MASKED_LM",
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_TO_SEQ_CAUSAL_LM",
    "image-classification": "IMAGE_CLASSIFICATION",
    "question-answering": "QUESTION_ANSWERING",
    "multiple-choice": "MULTIPLE_CHOICE",
    "next-sentence": "NEXT_SENTENCE_PREDICTION",
    "text-encoding": "TEXT_ENCODING",
    "image-text-to-text": "IMAGE_TEXT_TO_TEXT",
    "visual-question-answering": "VISUAL_QUESTION_ANSWERING",
    "document-question-answering": "DOCUMENT_QUESTION_ANSWERING",
    "zero-shot-image-classification": "ZERO_SHOT_IMAGE_CLASSIFICATION",
    "zero-shot-object-detection": "ZERO_SHOT_OBJECT_DETECTION",
    "object-detection": "OBJECT_DETECTION",
    "semantic-segmentation": "SEMANTIC_SEGMENTATION",
    "instance-segmentation": "INSTANCE_SEGMENTATION",
    "universal-segmentation": "UNIVERSAL_SEGMENTATION",
    "depth-estimation": "DEPTH_ESTIMATION",
    "video-classification": "VIDEO_CLASSIFICATION",
    "masked-image-modeling": "MASKED_IMAGE_MODELING",
    "vision-encoder": "IMAGE",
    "audio-classification": "AUDIO_CLASSIFICATION",
    "audio-frame-classification": "AUDIO_FRAME_CLASSIFICATION",
    "audio-xvector": "AUDIO_XVECTOR",
    "ctc": "CTC",
    "speech-seq2seq": "SPEECH_SEQ_2_SEQ",
    "time-series-prediction": "TIME_SERIES_PREDICTION",
    "time-series-classification": "TIME_SERIES_CLASSIFICATION",
    "time-series-regression": "TIME_SERIES_REGRESSION",
}
TEXT = {
    "sequence-classification",
    "token-classification",
    "masked-lm",
    "causal-lm",
    "seq2seq-lm",
    "image-classification",
    "question-answering",
    "multiple-choice",
    "next-sentence",
    "text-encoding",
    "document-question-answering",
}
"""Tasks whose inputs are a text, or an image alone."""
WIDE = 0.3
"""A matrix whose entries vary more than this was not drawn to be small."""


@dataclass(frozen=True)
class Architecture:
    """One class that an Auto class lists.

    Args:
        task: A key of `TASKS`.
        model_type: The key of its configuration.
        kind: The name of the class.
    """

    task: str
    model_type: str
    kind: str

    @property
    def name(self) -> str:
        """The key of this architecture in the results."""
        return f"{self.task}/{self.model_type}/{self.kind}"


def architectures() -> Iterator[Architecture]:
    """List everything, task by task.

    Yields:
        One architecture for each class; a few model types have several.
    """
    for task, part in TASKS.items():
        listed = getattr(modeling_auto, f"MODEL_FOR_{part}_MAPPING_NAMES")
        for model_type, kinds in sorted(listed.items()):
            several = [kinds] if isinstance(kinds, str) else list(dict.fromkeys(kinds))
            for kind in several:
                yield Architecture(task, model_type, kind)


def build(architecture: Architecture, seed: int = 0, cached: bool = True) -> nn.Module:
    """Build the tiny model with random weights, in eval mode and float64.

    Args:
        architecture: What to build.
        seed: Of the weights.
        cached: Whether the model may keep keys and values, as it does by default.

    Returns:
        The model.
    """
    torch.manual_seed(seed)
    kind = getattr(transformers, architecture.kind)
    config = _part_for(kind, tiny_config(architecture.model_type))
    if architecture.task == "causal-lm" and hasattr(config, "is_decoder"):
        config.is_decoder = True
    for part in () if cached else (config, *vars(config).values()):
        if hasattr(part, "use_cache"):
            part.use_cache = False
    model: nn.Module = kind(config)
    return randomise(model.eval()).double()


def _part_for(kind: Any, config: Any) -> Any:
    """Take the nested configuration that a class is built from, as Auto classes do."""
    wanted = kind.config_class
    if isinstance(config, wanted):
        return config
    parts = [part for part in vars(config).values() if isinstance(part, wanted)]
    return parts[0] if parts else config


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Draw weights so that every part matters, biases included.

    Args:
        model: A freshly built model.

    Returns:
        The model.
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if not value.is_floating_point() or value.numel() == 0:
            continue
        value.nan_to_num_(0.1, 0.1, -0.1)
        if isinstance(value, nn.Parameter):
            _draw(value)
        elif "running_mean" in name:
            value.normal_(0, 0.3)
        elif "running_var" in name:
            value.uniform_(0.5, 1.5)
    return model


def _draw(value: torch.Tensor) -> None:
    noise = torch.randn_like(value)
    if value.ndim < 2:
        value += 0.3 * noise
    elif value.std() > WIDE:  # a table, or decay rates: its values have a meaning
        value += 0.1 * noise
    else:
        fan_in = value.numel() / value.shape[0] if value.ndim != 3 else value.shape[-1]
        value.copy_(noise / max(fan_in, 1.0) ** 0.5)
