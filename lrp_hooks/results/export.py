"""Explanations as other libraries have them: pandas, SHAP, Captum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..support.extras import require
from ..support.text import escape
from ..views.explanation import Picture, Strip, View

if TYPE_CHECKING:
    from captum.attr._utils.visualization import VisualizationDataRecord
    from pandas import DataFrame
    from shap import Explanation as ShapExplanation

__all__ = ["labelled_dataframe", "to_captum_records", "to_dataframe", "to_shap"]

_UNKNOWN, _NO_CLASS = "unknown", "of no class"


def to_dataframe(shown: View) -> DataFrame:
    """See `Explanation.to_dataframe`."""
    pandas = require("pandas", "evaluate", "to_dataframe()")
    return _framed(pandas.DataFrame(list(_rows(shown))))


def labelled_dataframe(shown: Mapping[str, View]) -> DataFrame:
    """See `Comparison.to_dataframe`."""
    pandas = require("pandas", "evaluate", "to_dataframe()")
    rows = [
        {"label": label, **row} for label, view in shown.items() for row in _rows(view)
    ]
    return _framed(pandas.DataFrame(rows))


def _framed(frame: DataFrame) -> DataFrame:
    """Return a table without the columns that say the usual of every row.

    They are the names of tensors where there is just one, and that scores are those of
    the target.
    """
    usual = [
        column
        for column, said in (("input", ""), ("class_specific", True))
        if column in frame and frame[column].eq(said).all()
    ]
    return frame.drop(columns=usual)


def _rows(shown: View) -> Iterator[dict[str, Any]]:
    """Yield each number with all that is known of it.

    Yields:
        One row of the table.
    """
    for number, example in enumerate(shown.examples):
        head = {"method": shown.method, "example": number, "target": example.target}
        head |= {"output": example.output, "class_specific": shown.of_target}
        for part in example.parts:
            cells = _strip_cells(part) if isinstance(part, Strip) else _pixels(part)
            for cell in cells:
                yield {**head, "input": part.name, **cell}


def _strip_cells(strip: Strip) -> Iterator[dict[str, Any]]:
    rows = zip(strip.tokens, strip.special, strip.scores, strict=True)
    for position, (token, special, score) in enumerate(rows):
        yield {
            "position": position,
            "token": token,
            "special": special,
            "score": score,
        }


def _pixels(picture: Picture) -> Iterator[dict[str, Any]]:
    for row, line in enumerate(picture.scores.tolist()):
        for column, score in enumerate(line):
            yield {"row": row, "column": column, "score": score}


def to_shap(shown: View, distinct: bool) -> ShapExplanation:
    """See `Explanation.to_shap`."""
    shap = require("shap", "shap", "to_shap()")
    import numpy as np

    strips = _strips(shown, "to_shap")
    features = _by_token(strips) if distinct else _by_position(strips)
    return shap.Explanation(
        **features,
        base_values=np.array([
            example.output - sum(strip.scores)
            for example, strip in zip(shown.examples, strips, strict=True)
        ]),
        output_names=shown.examples[0].target if len(strips) == 1 else None,
    )


def _by_position(strips: Sequence[Strip]) -> dict[str, Any]:
    """Return the features of each text: its tokens, in their order."""
    import numpy as np

    return {
        "values": _ragged([strip.scores for strip in strips], np.float64),
        "data": _ragged([strip.tokens for strip in strips], np.object_),
        "feature_names": [list(strip.tokens) for strip in strips],
    }


def _by_token(strips: Sequence[Strip]) -> dict[str, Any]:
    """Return the features that all texts have in common: how often a token comes."""
    import numpy as np

    names = list(dict.fromkeys(token for strip in strips for token in strip.tokens))
    columns = {name: column for column, name in enumerate(names)}
    values, counts = np.zeros((2, len(strips), len(names)))
    for row, strip in enumerate(strips):
        for token, score in zip(strip.tokens, strip.scores, strict=True):
            values[row, columns[token]] += score
            counts[row, columns[token]] += 1
    return {"values": values, "data": counts, "feature_names": names}


def _ragged(rows: Sequence[Sequence[Any]], dtype: Any) -> Any:
    """Return an array of arrays, which may differ in length."""
    import numpy as np

    if len({len(row) for row in rows}) == 1:
        return np.array(rows, dtype=dtype)
    ragged = np.empty(len(rows), dtype=object)
    ragged[:] = [np.array(row, dtype=dtype) for row in rows]
    return ragged


def to_captum_records(
    shown: View,
    probabilities: Sequence[float] | None = None,
    true_classes: Sequence[str] | None = None,
    predicted_classes: Sequence[str] | None = None,
) -> list[VisualizationDataRecord]:
    """See `Explanation.to_captum_records`."""
    from captum.attr import visualization

    strips = _strips(shown, "to_captum_records")
    outputs = [example.output for example in shown.examples]
    said = [example.prediction or _UNKNOWN for example in shown.examples]
    shares = _one_each("probabilities", probabilities, [math.nan] * len(strips))
    classes = _one_each("true_classes", true_classes, [_UNKNOWN] * len(strips))
    predicted = _one_each("predicted_classes", predicted_classes, said)
    targets = [e.target if shown.of_target else _NO_CLASS for e in shown.examples]
    scale = max((abs(s) for strip in strips for s in strip.scores), default=0.0) or 1.0
    return [
        visualization.VisualizationDataRecord(
            word_attributions=[score / scale for score in strip.scores],
            pred_prob=shares[b],
            pred_class=escape(str(predicted[b])),
            true_class=escape(str(classes[b])),
            attr_class=escape(targets[b]),
            attr_score=sum(strip.scores),
            raw_input_ids=[escape(token) for token in strip.tokens],
            convergence_score=outputs[b] - sum(strip.scores),
        )
        for b, strip in enumerate(strips)
    ]


def _one_each(name: str, given: Sequence[Any] | None, default: list[Any]) -> list[Any]:
    """Return one entry for each example."""
    entries = default if given is None else list(given)
    if len(entries) != len(default):
        raise ArgumentError(
            f"{name} has {len(entries)} entries for {len(default)} examples; pass one "
            "for each, or None."
        )
    return entries


def _strips(shown: View, wanted: str) -> list[Strip]:
    """Return the scores of each example's only text."""
    found = [part for e in shown.examples for part in e.parts]
    strips = [part for part in found if isinstance(part, Strip)]
    if len(strips) < len(found) or len(found) != len(shown.examples):
        raise ArgumentError(
            f"{wanted}() needs one score for each token of one text, [B, T]; read one "
            "tensor, or use to_dataframe()."
        )
    return strips
