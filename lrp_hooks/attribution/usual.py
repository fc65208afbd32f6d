"""What is explained by default of outputs that are no classes of a whole example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .pairs import Pairs, paired
from .regions import Regions
from .spots import Spot, Spots, field_of

__all__ = [
    "DETECTED",
    "FORECASTS",
    "box_of",
    "chances",
    "forecast_of",
    "label_of",
    "spots_of_boxes",
    "spots_of_frames",
    "usual",
]

Target = Spots | Regions | Pairs
DETECTED = {"logits": "pred_boxes", "class_queries_logits": "masks_queries_logits"}
"""What has the classes of objects, and what tells where they are."""
FORECASTS = ("prediction_outputs", "mean_predictions", "params")
_LOCATION = {"student_t": 1, "normal": 0, "negative_binomial": 1}
"""Which parameter of a distribution says where a forecast lies."""


def usual(output: Any, model: nn.Module, batch: int) -> Target | None:
    """Choose what is explained where nobody says it.

    Args:
        output: What the model returned.
        model: The model.
        batch: B.

    Returns:
        The most confident box of a detector; the largest region of a segmentation; the
        mean depth; the surest keypoint; the clearest letter of a recogniser of speech;
        the first step of a forecast; of two towers each text with what stands beside
        it. None where a class, or a next token, is explained.
    """
    if isinstance(output, Tensor | tuple | list):
        return None
    kinds = "".join(kind.__name__ for kind in type(model).__mro__)
    logits = field_of(output, "logits")
    found: Target | None = None
    for field, places in DETECTED.items():
        if None not in {field_of(output, field), field_of(output, places)}:
            found = _best_box(output, field, model)
    if found is None and logits is None:
        found = paired(output)
    if found is None and logits is not None and logits.ndim == 4:
        found = _largest(logits, model) if "Segmentation" in kinds else None
    elif found is None and logits is not None and logits.ndim == 3 and "CTC" in kinds:
        found = _clearest(logits, model)
    elif found is None and (depth := field_of(output, "predicted_depth")) is not None:
        weights = torch.full(depth.shape, 1 / depth[0].numel())
        names = ("mean depth",) * len(depth)
        found = Regions("predicted_depth", None, weights, names)
    elif found is None:
        found = _surest_point(output) or _first_step(output, model)
    fits = found is not None and len(found.names) == batch
    return found if fits else None


def label_of(model: nn.Module, number: int) -> str:
    """Name a class.

    Args:
        model: The model, whose configuration may name it.
        number: The class.

    Returns:
        Its label, or its number.
    """
    labels = getattr(getattr(model, "config", None), "id2label", None) or {}
    return str(labels.get(number, number))


def chances(output: Any, field: str, model: nn.Module) -> Tensor:
    """Tell how sure a detector is of each class at each query.

    Args:
        output: What it returned.
        field: Which output has the classes.
        model: The detector.

    Returns:
        Probabilities, [B, Q, C], without the class of no object, which comes last.
    """
    logits = field_of(output, field)
    assert logits is not None
    labels = getattr(getattr(model, "config", None), "num_labels", None)
    asked = field_of(output, "text_embeds") is not None  # classes are texts
    if labels is not None and logits.shape[-1] == labels + 1 and not asked:
        return logits.detach().softmax(-1)[..., :-1]
    return logits.detach().sigmoid()


def spots_of_boxes(
    output: Any, field: str, model: nn.Module, chosen: list[tuple[int, int]]
) -> Spots:
    """Explain the class of a box in each example.

    Args:
        output: What a detector returned.
        field: Which output has the classes.
        model: The detector.
        chosen: The query and the class of each example.

    Returns:
        The target, with the boxes.
    """
    named = field_of(output, "text_embeds") is None
    names = [
        f"{label_of(model, label) if named else f'text {label}'} at query {query}"
        for query, label in chosen
    ]
    boxes = [box_of(output, row, query) for row, (query, _) in enumerate(chosen)]
    spots = tuple((Spot(field, at),) for at in chosen)
    return Spots(spots, tuple(names), tuple(b for b in boxes if b is not None))


def box_of(output: Any, row: int, query: int) -> tuple[float, ...] | None:
    """Return a box: left, top, right and bottom as shares of the picture.

    Args:
        output: What a detector returned.
        row: The example.
        query: Which box.

    Returns:
        Four numbers; None where the model returns no boxes.
    """
    boxes = field_of(output, "pred_boxes")
    if boxes is None:
        return None
    x, y, width, height = boxes[row, query].tolist()
    ends = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return tuple(min(max(end, 0.0), 1.0) for end in ends)


def spots_of_frames(logits: Tensor, blank: int | None) -> list[tuple[int, int]]:
    """Find the token that a recogniser is surest of, but for the blank, and its frame.

    Args:
        logits: [B, T, V].
        blank: The token of silence, if there is one.

    Returns:
        A frame and a token for each example.
    """
    sure = logits.detach().double().softmax(-1)
    if blank is not None:
        sure[..., blank] = -1.0
    best = sure.flatten(1).argmax(1).tolist()
    return [(place // logits.shape[2], place % logits.shape[2]) for place in best]


def _best_box(output: Any, field: str, model: nn.Module) -> Spots:
    sure = chances(output, field, model)
    best = sure.flatten(1).argmax(1).tolist()
    chosen = [(place // sure.shape[2], place % sure.shape[2]) for place in best]
    return spots_of_boxes(output, field, model, chosen)


def _clearest(logits: Tensor, model: nn.Module) -> Spots:
    blank = getattr(getattr(model, "config", None), "pad_token_id", None)
    chosen = spots_of_frames(logits, blank)
    names = tuple(f"token {token} at frame {frame}" for frame, token in chosen)
    return Spots(tuple((Spot("logits", at),) for at in chosen), names)


def _largest(logits: Tensor, model: nn.Module) -> Regions:
    """Explain the class that most places have, where they have it."""
    said = logits.detach().argmax(1)
    classes = [int(row.flatten().mode().values) for row in said]
    weights = torch.stack([
        (row == label).double() for row, label in zip(said, classes, strict=True)
    ])
    counts = weights.sum((1, 2))
    names = tuple(
        f"{label_of(model, label)} in its {int(count)} of {said[0].numel()} places"
        for label, count in zip(classes, counts, strict=True)
    )
    return Regions("logits", tuple(classes), weights / counts[:, None, None], names)


def _surest_point(output: Any) -> Spots | None:
    """Explain how sure a detector is of the keypoint that it is surest of."""
    points, scores = field_of(output, "keypoints"), field_of(output, "scores")
    if points is None or scores is None or scores.shape != points.shape[:2]:
        return None
    best = scores.detach().argmax(1).tolist()
    where = (points[row, place].tolist() for row, place in enumerate(best))
    names = tuple(f"keypoint at ({x:.2f}, {y:.2f})" for x, y, *_ in where)
    return Spots(tuple((Spot("scores", (place,)),) for place in best), names)


def _first_step(output: Any, model: nn.Module) -> Spots | None:
    """Explain the first step of a forecast, of the first variable."""
    field = forecast_of(output, model)
    values = None if field is None else field_of(output, field)
    if field is None or values is None:
        return None
    place = (0,) * (values.ndim - 1)
    of = " of variable 0" if values.ndim == 3 else ""
    spots = tuple((Spot(field, place),) for _ in values)
    return Spots(spots, (f"step 0{of}",) * len(values))


def forecast_of(output: Any, model: nn.Module) -> str | None:
    """Find what a forecaster says of the steps to come.

    Args:
        output: What it returned.
        model: The forecaster.

    Returns:
        The output, [B, T] or [B, T, V]; of a distribution that which tells where it
        lies. None where there is none.
    """
    kind = getattr(getattr(model, "config", None), "distribution_output", None)
    location = _LOCATION.get(str(kind), 0)
    for name in FORECASTS:
        for field in (name, f"{name}.{location}"):
            values = field_of(output, field)
            if values is not None and values.ndim in {2, 3}:
                return field
    return None
