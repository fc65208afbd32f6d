"""What an evaluation is to do, and in what portions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..many.identity import print_of
from ..texts.given import Text

__all__ = ["BETTER", "Plan"]

BETTER = {
    "activation": "higher",
    "pruning": "lower",
    "aopc": "higher",
    "accuracy": "lower",
    "log_odds": "lower",
    "comprehensiveness": "higher",
    "sufficiency": "lower",
    "deletion": "lower",
    "insertion": "higher",
    "lerf_morf": "higher",
    "leave_one_out_correlation": "higher",
    "removal_error": "lower",
    "infidelity": "lower",
    "conservation_error": "lower",
    "sensitivity": "lower",
}
"""Every metric of an evaluation, and which way is better."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of an evaluation.

    Attributes:
        texts: The texts, or pairs of texts.
        labels: The class of each, if known; None for a text that has none.
        methods: ``{label: options}`` of `explain`, each with its ``"method"``;
            ``"complete"`` gives the ledger's sources back to the tokens.
        metrics: Keys of `BETTER`.
        signs: ``"signed"`` scores, ``"absolute"`` ones, or both.
        target: The class that is explained: ``"predicted"`` or ``"label"``.
        replacements: ``{metric: what takes a token's place}``, by the token's name;
            where the tokenizer has none of that name, the next best that it has.
        chunk: How many texts are explained together.
        seed: Of random sets of tokens.
        identity: See `identity_of`.
        skipped: ``{row: reason}`` of texts that do not fit the model or have no label
            where others have.
        lengths: Tokens of each text, 0 for those that are skipped.
    """

    texts: tuple[Text, ...]
    labels: tuple[int | None, ...] | None
    methods: Mapping[str, Mapping[str, Any]]
    metrics: tuple[str, ...]
    signs: tuple[str, ...]
    target: str
    replacements: Mapping[str, str]
    chunk: int
    seed: int
    identity: Mapping[str, str]
    skipped: Mapping[int, str] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()

    def chunks(self) -> list[tuple[int, ...]]:
        """Portion the texts that fit, those of similar length together.

        Returns:
            Rows of each portion.
        """
        fitting = (row for row in range(len(self.texts)) if row not in self.skipped)
        order = sorted(fitting, key=lambda row: self.lengths[row])
        return [
            tuple(order[start : start + self.chunk])
            for start in range(0, len(order), self.chunk)
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Describe the plan so that another one is told from it.

        Returns:
            JSON-able; texts and labels by a digest.
        """
        data = repr((self.texts, self.labels)).encode("utf-8", "surrogatepass")
        return {
            **self.identity,
            "data": hashlib.sha256(data).hexdigest(),
            "texts": len(self.texts),
            "methods": {
                label: {key: print_of(value) for key, value in own.items()}
                for label, own in self.methods.items()
            },
            "metrics": list(self.metrics),
            "signs": list(self.signs),
            "target": self.target,
            "replacements": dict(self.replacements),
            "chunk": self.chunk,
            "seed": self.seed,
        }
