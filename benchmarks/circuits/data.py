"""Prompts of six tasks in pairs, written with a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

__all__ = ["TASKS", "Item", "written"]

NOUNS = """key cabinet author teacher farmer doctor guard pilot painter singer lawyer
athlete manager student driver dancer officer actor writer customer""".split()
PLACES = ("near", "behind", "beside", "with", "in front of")
VERBS = ("likes", "knows", "sees", "meets", "admires")
NAMES = "Mary John Tom James Daniel Paul Anna Kate Peter Alice Mark Sarah".split()
WHERE = ("store", "park", "office", "school", "station", "garden")
WHAT = ("drink", "book", "ring", "ball", "letter", "key")
EVENTS = ("war", "voyage", "trial", "siege", "project", "reform")


@dataclass(frozen=True)
class Item:
    """A prompt, and the words that should, and should not, follow it.

    Attributes:
        prompt: The prompt.
        other: Another one, in which the right words are not, or are less so.
        right: Words, the mean of whose logits is to be high.
        wrong: Words, the mean of whose logits is to be low.
    """

    prompt: str
    other: str
    right: Sequence[str]
    wrong: Sequence[str]


def written(task: str, number: int, seed: int) -> Item:
    """Write a prompt.

    Args:
        task: A key of `TASKS`.
        number: Which one.
        seed: Of all.

    Returns:
        The prompt.
    """
    return TASKS[task](random.Random(f"{seed} {task} {number}"))


def _agreement(draw: random.Random, template: str) -> Item:
    """Write a subject of one number, and in the other prompt of the other one."""
    noun, attractor = draw.sample(NOUNS, 2)
    plural, verb, place = draw.random() < 0.5, draw.choice(VERBS), draw.choice(PLACES)
    both = [
        template.format(
            noun=f"{noun}{'s' * number}",
            attractor=f"{attractor}{'s' * (not plural)}",
            verb=verb if plural else verb.removesuffix("s"),
            place=place,
        )
        for number in (plural, not plural)
    ]
    forms = [" is"], [" are"]
    return Item(*both, *(forms[::-1] if plural else forms))


def _greater(draw: random.Random) -> Item:
    century, decade, year = draw.randint(11, 18), draw.randint(2, 7), draw.randint(1, 8)
    event = draw.choice(EVENTS)
    both = [
        f"The {event} lasted from the year {century}{start}{year} to the year {century}"
        for start in (decade, 0)
    ]
    digits = [str(digit) for digit in range(10)]
    return Item(*both, digits[decade + 1 :], digits[:decade])


def _indirect(draw: random.Random) -> Item:
    first, second, third = draw.sample(NAMES, 3)
    where, what = draw.choice(WHERE), draw.choice(WHAT)
    both = [
        f"When {first} and {second} went to the {where}, {giver} gave a {what} to"
        for giver in (second, third)
    ]
    return Item(*both, [f" {first}"], [f" {second}"])


TASKS: dict[str, Callable[[random.Random], Item]] = {
    "agreement, simple": partial(_agreement, template="The {noun}"),
    "agreement, across a phrase": partial(
        _agreement, template="The {noun} {place} the {attractor}"
    ),
    "agreement, within a relative clause": partial(
        _agreement, template="The {attractor} that the {noun}"
    ),
    "agreement, across a relative clause": partial(
        _agreement, template="The {noun} that the {attractor} {verb}"
    ),
    "greater than": _greater,
    "indirect object": _indirect,
}
