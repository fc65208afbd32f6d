"""What is asked of an explainer: a batch, a target that it takes, and the task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..attribution.readout import Contrast, find_logits
from ..errors import TargetError
from ..texts.encoding import Encoded
from .answers import answered
from .asked import Asked, Posed, by_name
from .choices import chosen
from .detection import detected
from .kinds import Task, of_classes, task_of
from .masks import masked
from .moments import forecast, heard
from .regions import measured, segmented
from .similarity import compared, is_compared
from .tokens import tagged, written
from .vocabulary import token_named

__all__ = ["pose", "posed_as", "task_asked"]


def pose(
    model: nn.Module,
    tokenizer: Any,
    batch: Any,
    encoded: Encoded | None,
    target: Any,
) -> Posed:
    """Find out what is to be explained.

    The model runs once more where only its output tells what it means.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or None.
        batch: What it is called with.
        encoded: The same with its tokens, where they are known.
        target: See `explain`.

    Returns:
        The question, posed so that any explainer takes it. A target that does not fit
        the task is refused, as is none where nothing says what the output means.
    """
    asked = Asked(model, tokenizer, batch, encoded, target)
    return posed_as(task_asked(asked), asked)


def posed_as(task: Task | None, asked: Asked) -> Posed:
    """Pose a question of which the task is known.

    Args:
        task: The task.
        asked: The question.

    Returns:
        The question, posed so that any explainer takes it.
    """
    if task in _POSED_BY:
        return _POSED_BY[task](asked)
    if task is Task.TOKENS:
        return tagged(asked, find_logits(asked.output))
    if task is Task.NEXT_TOKEN and _has_places(asked.target):
        return written(asked)
    if task is Task.NEXT_TOKEN and asked.tokenizer is not None:
        named = by_name(asked.target, partial(token_named, asked.tokenizer))
        return asked.posed(named, task)
    return asked.posed(asked.target, task)


def _has_places(target: Any) -> bool:
    """Tell tokens at positions from tokens that come next."""
    several = target if isinstance(target, list) else [target]
    return any(isinstance(each, tuple) for each in several)


def graded(asked: Asked) -> Posed:
    """Pose a question about a number that a model returns.

    Args:
        asked: The question; its target may be None where there is one number.

    Returns:
        The question.

    Raises:
        TargetError: If there are several numbers, and none is named.
    """
    count = getattr(getattr(asked.model, "config", None), "num_labels", 1)
    if asked.target is None and count > 1:
        raise TargetError(
            f"{type(asked.model).__name__} returns {count} numbers, of which the "
            "largest is no better than others; pass the one to explain as target=, "
            f"from 0 to {count - 1} or by its label."
        )
    return asked.posed(asked.target, Task.REGRESSION)


_POSED_BY: dict[Task | None, Callable[[Asked], Posed]] = {
    Task.MASKED_TOKEN: masked,
    Task.ANSWER: answered,
    Task.SIMILARITY: compared,
    Task.CHOICE: chosen,
    Task.REGRESSION: graded,
    Task.DETECTION: detected,
    Task.SEGMENTATION: segmented,
    Task.DEPTH: measured,
    Task.FRAMES: heard,
    Task.FORECAST: forecast,
}


def task_asked(asked: Asked) -> Task | None:
    """Tell the task; the model runs only where its output alone tells.

    Args:
        asked: The question.

    Returns:
        The task; None for a model that says nothing of itself. A target that is needed
        and missing is asked for.
    """
    if callable(asked.target) and not isinstance(asked.target, Contrast):
        return Task.CHOSEN
    task = task_of(asked.model)
    # Some models of masked words are called language models that write.
    if task is Task.NEXT_TOKEN and asked.has_mask:
        return Task.MASKED_TOKEN
    return task or _by_output(asked)


def _by_output(asked: Asked) -> Task | None:
    """Tell the task of a model by its output, if anything does."""
    says = hasattr(asked.model, "config")
    if not says and (asked.ids is None or asked.ids.is_floating_point()):
        return None  # images, vectors: no look is needed
    if None not in {asked.field("start_logits"), asked.field("end_logits")}:
        return Task.ANSWER
    if is_compared(asked):
        return Task.SIMILARITY
    if asked.field("sentence_embedding") is not None:
        raise _without_other()
    logits = asked.field("logits") if says else find_logits(asked.output)
    if logits is None and isinstance(asked.output, Tensor):
        logits = asked.output
    count = getattr(getattr(asked.model, "config", None), "num_labels", None)
    if logits is None or _is_unnamed(asked, logits, count):
        raise _unknown(asked, logits)
    if asked.ids is not None and asked.ids.ndim == 3 and logits.ndim == 2:
        return Task.CHOICE
    if logits.ndim == 3:
        return Task.TOKENS
    return of_classes(getattr(asked.model, "config", None))


def _is_unnamed(asked: Asked, logits: Tensor, count: int | None) -> bool:
    """Tell logits that are no classes: hidden units, tokens, positions."""
    if logits.ndim > 2:
        return count is None or logits.ndim > 3 or logits.shape[2] != count
    if count is None or logits.shape[-1] in {1, count}:
        return False  # as many classes as tokens are no reason to doubt
    return asked.ids is not None and logits.shape == asked.ids.shape


def _unknown(asked: Asked, logits: Tensor | None) -> TargetError:
    came = "no logits" if logits is None else f"logits of shape {list(logits.shape)}"
    return TargetError(
        f"{type(asked.model).__name__} returns {came}, and nothing says which of its "
        "outputs are to be explained; pass target=a function from its output to a "
        "tensor [B], such as lambda output: output[:, -1, 7]."
    )


def _without_other() -> TargetError:
    return TargetError(
        "the model makes a vector of a text, and nothing says what of it is to be "
        "explained. Pass a pair (text, other text) for their "
        "similarity, or a function as target=, such as the product with a vector: "
        'lambda output: output["sentence_embedding"] @ vector.'
    )
