"""Token classification: a label at a token."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..attribution.classes import class_of, label_ids
from ..attribution.readout import Contrast, find_logits
from ..attribution.spots import Spot, Spots
from ..errors import TargetError
from .asked import Asked, Posed
from .kinds import Task
from .masks import logits_field
from .places import place_of, repeated
from .vocabulary import token_named

__all__ = ["ENTITIES", "tagged", "written"]

ENTITIES = "entities"
"""The target that explains every entity that the model finds, one a row."""


def tagged(asked: Asked, logits: Tensor) -> Posed:
    """Pose a question about labels of tokens.

    Args:
        asked: The question; its target is a ``(position or word, label)``, one for each
            example, `ENTITIES`, or None for the strongest entity.
        logits: What the model returned, ``[B, T, C]``.

    Returns:
        The question about one logit of each example.

    Raises:
        TargetError: If the target is a label without a token, or there is none such.
    """
    names = _names(asked, logits.shape[2])
    of: list[str] = []
    if isinstance(asked.target, str) and asked.target == ENTITIES:
        found = [
            (row, place, label)
            for row in range(len(logits))
            for place, label in _entities(asked, logits[row], row, names)
        ]
        if not found:
            raise TargetError(
                "target='entities' explains every entity, and the model finds none. "
                "Leave target out to explain the strongest candidate."
            )
        rows = [row for row, _, _ in found]
        asked = repeated(asked, rows)
        chosen = [(place, label) for _, place, label in found]
        if len(logits) > 1:
            of = [f" in text {row + 1}" for row in rows]
    else:
        chosen = [
            _chosen(asked, target, logits[row], row, names)
            for row, target in enumerate(asked.each(asked.target))
        ]
    spots = tuple((Spot("logits", at),) for at in chosen)
    said = tuple(
        _said(asked, row, at, names) + (of[row] if of else "")
        for row, at in enumerate(chosen)
    )
    return asked.posed(Spots(spots, said), Task.TOKENS)


def written(asked: Asked) -> Posed:
    """Pose a question about tokens that a language model writes behind positions.

    Args:
        asked: The question; its target is ``(position or word, token)``, of what comes
            behind that position, one for each example; a token alone comes last.

    Returns:
        The question about one logit of each example.

    Raises:
        TargetError: If only some targets have a position.
    """
    logits = find_logits(asked.output)
    chosen = []
    for row, target in enumerate(asked.each(asked.target)):
        if not isinstance(target, tuple) or len(target) != 2:
            raise TargetError(
                f"target={target!r} must be (position or word, token), as others are."
            )
        token = target[1]
        if isinstance(token, str):
            token = token_named(asked.tokenizer, token)
        length = logits.shape[1] if asked.ids is None else asked.ids.shape[1]
        place = place_of(asked, target[0], row, length)
        # What stands for a picture may stand before the text.
        behind = logits.shape[1] - length + place
        chosen.append((behind, class_of(token, asked.model, logits.shape[2]), place))
    names = tuple(f"{_token(asked, token)} after {p}" for _, token, p in chosen)
    spots = tuple((Spot(logits_field(asked), (b, token)),) for b, token, _ in chosen)
    return asked.posed(Spots(spots, names), Task.NEXT_TOKEN)


def _token(asked: Asked, token: int) -> str:
    known = asked.tokenizer
    return (
        f"token {token}" if known is None else str(known.convert_ids_to_tokens(token))
    )


def _names(asked: Asked, classes: int) -> list[str]:
    known: dict[int, str] = {}
    for name, number in label_ids(asked.model).items():
        if number not in known or known[number] == f"LABEL_{number}":
            known[number] = name
    return [known.get(number, str(number)) for number in range(classes)]


def _entity_labels(names: list[str]) -> list[int]:
    """List the labels that stand for an entity: all but "O", outside of any."""
    inside = [number for number, name in enumerate(names) if name.upper() != "O"]
    return inside or list(range(len(names)))


def _chosen(
    asked: Asked, target: Any, logits: Tensor, row: int, names: list[str]
) -> tuple[int, int]:
    """Return the position and the label that are explained in an example."""
    if target is None:
        places = asked.free(row) if asked.reads_text else list(range(len(logits)))
        return _strongest(logits, places, _entity_labels(names))
    if target == ENTITIES:
        raise TargetError(
            f"target has {ENTITIES!r} among others, which makes rows of one text. Pass "
            "it alone, or (position or word, label) for each text."
        )
    if not isinstance(target, tuple) or len(target) != 2:
        raise TargetError(
            f"target={target!r} leaves open which token is meant: this model has a "
            f"label at each of them. Pass (position or word, label), such as "
            f"(1, {names[-1]!r}), {ENTITIES!r} for all entities, or nothing for the "
            "strongest."
        )
    if isinstance(target[1], Contrast):
        raise TargetError(
            f"target={target!r} is a Contrast at a token; pass a function of the "
            "model's output, such as lambda output: output.logits[:, 2, 1] - "
            "output.logits[:, 2, 0]."
        )
    place = place_of(asked, target[0], row, len(logits))
    return place, class_of(target[1], asked.model, len(names))


def _strongest(logits: Tensor, places: list[int], labels: list[int]) -> tuple[int, int]:
    chances = logits.double().log_softmax(-1)[places][:, labels]
    best = int(chances.argmax())
    return places[best // len(labels)], labels[best % len(labels)]


def _entities(
    asked: Asked, logits: Tensor, row: int, names: list[str]
) -> list[tuple[int, int]]:
    """List the tokens that the model takes for a part of an entity."""
    labels, said = set(_entity_labels(names)), logits.argmax(-1).tolist()
    return [(place, said[place]) for place in asked.free(row) if said[place] in labels]


def _said(asked: Asked, row: int, at: tuple[int, int], names: list[str]) -> str:
    place, label = at
    token = "" if asked.encoded is None else f" ({asked.encoded.tokens[row][place]})"
    return f"{names[label]} at {place}{token}"
