"""What an answer drew on: spans by sources, with their ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ArgumentError
from ..results import storage
from ..results.explanation_view import method_of
from ..results.ledger import Ledger, summed
from ..results.shown import Drawn, Page, Printed
from ..support.extras import require
from ..support.passages import Passage
from ..views.answer import Cited

if TYPE_CHECKING:
    from pandas import DataFrame
    from typing_extensions import Self

__all__ = ["AnswerExplanation"]


@dataclass(kw_only=True, eq=False, repr=False)
class AnswerExplanation(Page, Printed, Drawn):
    """The relevance of the parts of a prompt for the parts of an answer.

    ``A`` is the number of spans of the answer, ``S`` that of sources of the prompt.

    Args:
        scores: ``[A, S]``: what of each span's output came from each source.
        output: What is explained of each span, ``[A]``.
        sources: S passages ``(text, start, end)`` of the prompt, in characters.
        spans: A passages of the answer.
        prompt: The prompt as the model read it, a chat's template filled in.
        answer: The answer.
        target: ``"log_probability"`` or ``"logit"``.
        method: ``"lrp"``, ``"ablation"`` or ``"leave_one_out"``.
        tokens: All tokens, prompt and answer.
        token_scores: ``[A, N]`` over the N tokens before the last one; None for methods
            that look at sources as wholes.
        ledger: Its ``inputs`` are the sums of sources; its ``sources``, ``[A]`` each,
            are ``"prompt"`` (what of the prompt is no source), ``"answer"`` (tokens of
            the answer itself) and every constant. None for methods that do not say.
        beside: ``{input: [A, H, W]}`` of the patches of a picture beside the prompt's
            text, ``[A, P]`` of frames of a sound; the ledger has a line for each input.
        meta: As for `Explanation`; also ``"calls"``, how often the model ran forward,
            ``"backward_passes"``, ``"wrt"`` and ``"hops"``.
    """

    scores: Tensor
    output: Tensor
    sources: list[Passage]
    spans: list[Passage]
    prompt: str
    answer: str
    target: str
    method: str = "lrp"
    tokens: list[str] | None = None
    token_scores: Tensor | None = None
    ledger: Ledger | None = None
    beside: dict[str, Tensor] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def cite(self, k: int = 1) -> list[list[tuple[Passage, float]]]:
        """Find what speaks for each span most.

        Args:
            k: How many sources.

        Returns:
            For each span its k sources with the largest scores, the largest first.

        Raises:
            ArgumentError: If ``k`` is no whole number from 1 on.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ArgumentError(f"k={k!r} must be a whole number from 1 on.")
        shown = self.view()
        return [
            [(self.sources[s], score) for s, score in shown.strongest(a, k)]
            for a in range(len(self.spans))
        ]

    def view(self) -> Cited:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings.
        """
        cut = ", at the cache" if self.meta.get("wrt") == "cache" else ""
        return Cited(
            method=method_of(self) + cut,  # type: ignore[arg-type]
            model=self.meta.get("model", ""),
            prompt=self.prompt,
            answer=self.answer,
            sources=self.sources,
            spans=self.spans,
            scores=self.scores.detach().cpu().double().tolist(),
            outputs=self.output.detach().cpu().double().tolist(),
            terms=None if self.ledger is None else _terms(self.ledger, self.beside),
        )

    def to_dataframe(self) -> DataFrame:
        """Write every score with its span and its source as a row of a table.

        Returns:
            A pandas table with the columns ``method``, ``span``, ``span_text``,
            ``output``, ``source``, ``source_text``, ``start``, ``end`` and ``score``.
        """
        pandas = require("pandas", "evaluate", "to_dataframe()")
        return pandas.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Write every score with its span and its source.

        Returns:
            A dictionary a score, with the keys of `to_dataframe`'s columns.
        """
        scores, outputs = self.scores.tolist(), self.output.tolist()
        return [
            {
                "method": self.method,
                "span": a,
                "span_text": span.text,
                "output": outputs[a],
                "source": s,
                "source_text": source.text,
                "start": source.start,
                "end": source.end,
                "score": scores[a][s],
            }
            for a, span in enumerate(self.spans)
            for s, source in enumerate(self.sources)
        ]

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything into one file, bit by bit as it is.

        Args:
            path: The file to write: ``.safetensors``, as also without an ending, or
                ``.json``. An older file is replaced once this one is whole.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what ``save`` wrote.

        Args:
            path: The file to read.

        Returns:
            The explanation, its tensors on the CPU. A file that holds something
            else is refused.
        """
        return storage.load_as(path, cls, base=cls)

    def __repr__(self) -> str:
        """Return the class, the method, the shape and the outputs."""
        outputs = ", ".join(f"{value:.4g}" for value in self.output.tolist())
        return (
            f"{type(self).__name__}(method={self.method!r}, "
            f"scores={list(self.scores.shape)}, output=[{outputs}])"
        )


def _terms(ledger: Ledger, beside: Iterable[str]) -> list[list[tuple[str, float]]]:
    """Return the ledger of each span in four terms."""
    known = {"prompt", "answer", *beside}
    constants = (v for n, v in ledger.sources.items() if n not in known)
    table = {
        "sources": ledger.inputs,
        **{name: ledger.sources[name] for name in beside},
        "rest of the prompt": ledger.sources["prompt"],
        "answer itself": ledger.sources["answer"],
        "constants": summed(constants, ledger.output),
    }
    rows = zip(*(values.tolist() for values in table.values()), strict=True)
    return [list(zip(table, row, strict=True)) for row in rows]
