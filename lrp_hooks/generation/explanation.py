"""What each generated token drew on: a matrix with its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..attribution.readout import Contrast
from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..results.explanation_view import method_of
from ..results.ledger import Ledger
from ..results.target_text import target_text
from ..results.words import Grouping, group, line_breaks, read_pieces
from ..support.marks import spelled
from ..views.generation import Matrix
from .moments import Moments

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["GenerationExplanation"]


@dataclass(kw_only=True, eq=False, repr=False)
class GenerationExplanation(Explanation):
    """The relevance of all earlier tokens for each generated token.

    ``G`` is the number of generated tokens, ``N`` that of all tokens, the prompt's
    first. An encoder-decoder's prompt is what the encoder reads, tokens or frames, and
    the token that its decoder starts with. Row ``t`` explains the token at ``prompt +
    t``: ``scores[t]`` sums, with the sources of the ledger, to ``output[t]``; its own
    column and later ones are 0.

    Args:
        scores: ``[G, N]``.
        output: The raw logit of each generated token, or its difference to the
            contrast's, ``[G]``.
        target: The ids of the generated tokens, ``[G]``, or a `Contrast` of such.
        tokens: For each row the tokens of the whole text.
        attended: Boolean ``[G, N]``: which tokens stand before the generated one.
        prompt: How many of the tokens are the prompt's: the first generated one's
            column.
        ledger: Where every bit of the logits went: its ``sources`` are ``[G]``.
        meta: As for `Explanation`; also ``"chunk"`` (tokens a backward pass),
            ``"backward_passes"``, ``"gradient_bytes"`` (of the widest gradient of a
            backward pass), ``"merged"`` (how many of the prompt's last tokens
            became others together with the text that follows) and, of an
            encoder-decoder, or of a model that sees or hears, ``"encoder"`` (how many
            columns are the encoder's, or of what stands beside the text); of one
            picture ``"picture"`` (its first column, and its height and width in
            patches), and of one sound ``"sound"`` (its first column, and how many).
    """

    prompt: int
    ledger: Ledger

    @property
    def generated(self) -> list[str]:
        """The generated tokens, one for each row."""
        return self._all_tokens[self.prompt :]

    @property
    def encoder(self) -> int:
        """How many of the tokens are the encoder's; 0 of a decoder alone."""
        return int(self.meta.get("encoder", 0))

    @property
    def pictures(self) -> Tensor:
        """What each patch of the picture had of each generated token, [G, H, W].

        Raises:
            ArgumentError: If there was none.
        """
        if "picture" not in self.meta or not isinstance(self.scores, Tensor):
            raise ArgumentError(
                "pictures are of what a model wrote of one picture, and there was none."
            )
        first, rows, columns = self.meta["picture"]
        patches = self.scores[:, first : first + rows * columns]
        return patches.reshape(-1, rows, columns)

    @property
    def rivals(self) -> list[str]:
        """What each generated token is explained rather than; none for none."""
        if not isinstance(self.target, Contrast):
            return []
        labels = self.meta.get("labels") or {}
        rivals = self.target.b
        return [target_text(rivals, t, labels) for t in range(len(self.output))]

    @property
    def _all_tokens(self) -> list[str]:
        """The tokens of the whole text."""
        assert self.tokens is not None
        return self.tokens[0]

    @property
    def special(self) -> list[bool]:
        """For each token of the whole text, whether it is a special one."""
        flags = self.meta.get("special")
        return list(flags[0]) if flags else [False] * len(self._all_tokens)

    @property
    def _pieces(self) -> Sequence[str]:
        """The text that each token of the whole text stands for."""
        given = self.meta.get("pieces")
        mark = self.meta.get("subwords")
        tokens = [self._all_tokens]
        return read_pieces(tokens, [self.special], mark, given and given[:1])[0]

    def words(self) -> Self:
        """Merge sub-word tokens to whole words, in rows and in columns.

        A generated word's row is the sum of its tokens' rows, its output the sum of
        their logits; what its later tokens draw on its earlier ones stands in the
        word's own column. No word reaches over the end of the prompt.

        Returns:
            A new explanation, whose ``target`` holds words.

        Raises:
            ArgumentError: If the words are merged already.
        """
        if not isinstance(self.scores, Tensor) or "words" in self.meta:
            raise ArgumentError("words() was called on words; call it on tokens.")
        before, after = self._group(0, self.prompt), self._group(self.prompt, None)
        found = [*before.words[0], *after.words[0]]
        columns = torch.cat([before.columns, after.columns + before.width], 1)
        both = Grouping([found], [[]], columns, before.width + after.width)

        def merge(matrix: Tensor) -> Tensor:
            """Sum rows and columns, [G, N] -> [generated words, words]."""
            return both.fold(_sum_rows(after, matrix).T[None])[0].T

        rows, ends = len(after.words[0]), {}
        if self.encoder:
            ends = {"encoder": int(before.columns[0, self.encoder])}
        special = [*before.special[0], *after.special[0]]
        meta = {k: v for k, v in self.meta.items() if k != "subwords"}
        assert self.attended is not None
        return replace(
            self,
            scores=merge(self.scores),
            output=_sum_rows(after, self.output),
            target=self._word_targets(after),
            tokens=[found] * rows,
            attended=merge(self.attended.to(torch.float64)) > 0,
            prompt=before.width,
            ledger=self._merged_ledger(after, merge),
            meta={
                **meta,
                **ends,
                "special": [special] * rows,
                "pieces": [[*before.pieces[0], *after.pieces[0]]] * rows,
                "words": True,
            },
        )

    def view(self) -> Matrix:
        """Collect what there is to show; of a sound, sums over moments.

        Returns:
            Plain numbers and strings.
        """
        assert isinstance(self.scores, Tensor) and self.attended is not None
        sources = [v.detach().cpu().double() for v in self.ledger.sources.values()]
        matrix = Matrix(
            method=method_of(self),
            model=self.meta.get("model", ""),
            rivals=list(dict.fromkeys(self.rivals)),
            tokens=self._all_tokens,
            special=self.special,
            breaks=line_breaks(self._pieces),
            encoder=self.encoder,
            prompt=self.prompt,
            targets=self.targets,
            told=self._told(),
            output=self.output.detach().cpu().tolist(),
            scores=self.scores.detach().cpu().double(),
            seen=self.attended.sum(1).tolist(),
            inputs=self.ledger.inputs.tolist(),
            constants=torch.stack(sources).sum(0).tolist() if sources else None,
            spelled=self._spelled(),
        )
        if "picture" in self.meta:
            return replace(matrix, grid=tuple(self.meta["picture"]))
        return _in_moments(matrix, *self.meta["sound"]) if self._hears else matrix

    @property
    def _hears(self) -> bool:
        """Whether there is a sound whose columns are still as they were."""
        return "sound" in self.meta and self.encoder >= sum(self.meta["sound"])

    def _spelled(self) -> list[str]:
        """Return the text of each token, where marks hide it."""
        mark = self.meta.get("subwords")
        if mark is None:
            return []
        return spelled(self._all_tokens, mark, self._pieces, self.special)

    def _told(self) -> list[str]:
        """Return what each row explains, by the text of tokens."""
        texts = self._spelled()
        if not texts:
            return self.targets
        own, rivals = texts[self.prompt :], spelled(self.rivals, self.meta["subwords"])
        told = Contrast(own, rivals) if rivals else own
        return [target_text(told, t, {}) for t in range(len(own))]

    def _group(self, start: int, stop: int | None) -> Grouping:
        """Return the words of a part of the text."""
        tokens = self._all_tokens[start:stop]
        return group(
            [tokens],
            length=len(tokens),
            special=[self.special[start:stop]],
            pieces=[self._pieces[start:stop]],
        )

    def _word_targets(self, words: Grouping) -> Any:
        """Return the words, and the contrasts of each, as texts."""
        own = words.words[0]
        if not isinstance(self.target, Contrast):
            return own
        others: list[list[str]] = [[] for _ in own]
        for rival, word in zip(self.rivals, words.columns[0].tolist(), strict=True):
            others[word].append(rival)
        # One rival of all of a word's tokens is no longer a word for that.
        rivals = ["".join(p if len(set(p)) > 1 else p[:1]) for p in others]
        return Contrast(own, spelled(rivals, self.meta.get("subwords")))

    def _merged_ledger(self, rows: Grouping, merge: Any) -> Ledger:
        ledger = self.ledger
        return Ledger(
            _sum_rows(rows, ledger.inputs),
            {name: _sum_rows(rows, v) for name, v in ledger.sources.items()},
            {name: merge(v) for name, v in ledger.positions.items()},
            _sum_rows(rows, ledger.output),
        )


def _sum_rows(words: Grouping, values: Tensor) -> Tensor:
    """Sum the rows of each word, [G, ...] -> [W, ...]."""
    return words.fold(values[None])[0]


def _in_moments(matrix: Matrix, first: int, count: int) -> Matrix:
    """Show as many moments of a sound as there is room for."""
    moments = Moments.of(matrix.scores, first, count)
    starts, less = moments.starts, count - moments.count
    return replace(
        matrix,
        tokens=moments.names(matrix.tokens),
        special=[matrix.special[c] for c in starts],
        breaks=[matrix.breaks[c] for c in starts],
        spelled=moments.names(matrix.spelled) if matrix.spelled else [],
        scores=moments.sum(matrix.scores),
        seen=[count - less for count in matrix.seen],
        encoder=matrix.encoder - less,
        prompt=matrix.prompt - less,
        grid=(first, 1, moments.count),
    )
