"""Which task a model was made for, as far as it says so before it has run."""

from __future__ import annotations

from enum import Enum
from typing import Any

from torch import nn

from ..texts.encoding import is_language_model, writes_text

__all__ = ["Task", "task_of"]


class Task(str, Enum):
    """What a model's output means."""

    ONE_LABEL = "classification"
    MANY_LABELS = "classification by many labels"
    REGRESSION = "regression"
    ONE_LOGIT = "one logit"
    NEXT_TOKEN = "next token"
    MASKED_TOKEN = "masked token"
    TOKENS = "token classification"
    ANSWER = "question answering"
    CHOICE = "multiple choice"
    SIMILARITY = "similarity"
    DETECTION = "object detection"
    SEGMENTATION = "segmentation"
    DEPTH = "depth"
    FRAMES = "speech by frames"
    FORECAST = "forecast"
    CHOSEN = "a target of the caller's"

    def __str__(self) -> str:
        """Return the task in words."""
        return str(self.value)


_OF_WHOLE_EXAMPLES = tuple(
    f"For{what}Classification" for what in ("Sequence", "Image", "Audio", "Video")
)
_OF_PARTS = {
    "ForObjectDetection": Task.DETECTION,
    "ForInstanceSegmentation": Task.DETECTION,
    "ForUniversalSegmentation": Task.DETECTION,
    "ForSemanticSegmentation": Task.SEGMENTATION,
    "ForDepthEstimation": Task.DEPTH,
    "ForCTC": Task.FRAMES,
    "ForPrediction": Task.FORECAST,
    "ForAudioFrameClassification": Task.TOKENS,
}


def task_of(model: nn.Module) -> Task | None:
    """Tell a model's task by its class and its configuration.

    Args:
        model: Any module.

    Returns:
        The task; None where only the output can tell, or nothing can.
    """
    if is_language_model(model):
        return Task.NEXT_TOKEN if writes_text(model) else Task.MASKED_TOKEN
    names = [kind.__name__ for kind in type(model).__mro__]
    for ending, task in _OF_PARTS.items():
        if any(ending in name for name in names):
            return task
    if any(ending in name for name in names for ending in _OF_WHOLE_EXAMPLES):
        return of_classes(getattr(model, "config", None))
    return None


def of_classes(config: Any) -> Task:
    """Tell what the logits of a whole example mean.

    Args:
        config: The model's configuration, or None.

    Returns:
        The task.
    """
    kind = getattr(config, "problem_type", None)
    if kind == "regression":
        return Task.REGRESSION
    if kind == "multi_label_classification":
        return Task.MANY_LABELS
    single = getattr(config, "num_labels", None) == 1
    return Task.ONE_LOGIT if single else Task.ONE_LABEL
