"""What every explainer returns: scores, what they explain, and ways to show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any

from torch import Tensor

from ..errors import ArgumentError
from ..views.explanation import Sheet
from . import export, storage
from .explanation_view import view
from .meta import Meta
from .patches import by_patch
from .shown import Drawn, Page, Printed
from .sums import check_sums
from .target_text import target_text
from .words import Grouping, group

if TYPE_CHECKING:
    from captum.attr._utils.visualization import VisualizationDataRecord
    from pandas import DataFrame
    from shap import Explanation as ShapExplanation
    from typing_extensions import Self

__all__ = ["Explanation"]


@dataclass(kw_only=True, eq=False, repr=False)
class Explanation(Page, Printed, Drawn):
    """The scores that an explainer gives to the inputs of a batch.

    ``B`` is the number of examples, ``T`` the number of tokens. ``tokens[b][t]`` is the
    token of ``scores[b, t]``; padding after the last token has no token.

    Args:
        scores: ``[B, T]`` for text, ``[B, H, W]`` for images, the input's own shape for
            plain vectors; a dictionary by name where several tensors were read.
        output: The explained scalar of each example, ``[B]``.
        target: What was explained: a class or token id, or one for each example, or
            a label, a contrast or a function of the model's output.
        method: The explainer's name in snake case.
        tokens: ``B`` lists of strings, if known. Defaults to ``None``.
        attended: Boolean ``[B, T]``, false at padding, or ``None`` where there is none;
            ``[B, C, T]`` of choices.
        images: The pictures that were explained, ``[B, C, H, W]`` with one channel or
            three, or ``[B, H, W]``, of any size, since scores are spread over them;
            ``[B, F, C, H, W]`` for videos; of sounds the waveform ``[B, T]`` or the
            bands ``[B, F, T]``. Scores are shown over them. Defaults to ``None``.
        meta: JSON-able extras, of which those of `Meta` are shown.

    Raises:
        ArgumentError: If ``tokens`` are no lists of strings, one for each example, or
            are more than the scores.
    """

    scores: Tensor | dict[str, Tensor]
    output: Tensor
    target: Any = None
    method: str = ""
    tokens: list[list[str]] | None = None
    attended: Tensor | None = None
    images: Tensor | None = None
    meta: Annotated[dict[str, Any], Meta] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse tokens that do not belong to the scores.

        Raises:
            ArgumentError: If ``tokens`` are no lists of strings, one for each example,
                or are more than the scores.
        """
        if self.tokens is None:
            return
        if any(isinstance(row, str) for row in self.tokens):
            raise ArgumentError(
                "tokens must be one list of strings for each example, got a list of "
                "strings. For a single example write tokens=[[...]]."
            )
        if len(self.tokens) != len(self.output):
            raise ArgumentError(
                "tokens must be one list for each example: expected "
                f"{len(self.output)} lists, got {len(self.tokens)}."
            )
        longest = max(map(len, self.tokens), default=0)
        if isinstance(self.scores, Tensor) and longest > self.scores[0].numel():
            raise ArgumentError(
                f"tokens has {longest} tokens for one example, but scores have the "
                f"shape {list(self.scores.shape)}. Give each score its token."
            )

    @property
    def targets(self) -> list[str]:
        """The explained target of each example, by its label where that is known."""
        labels = self.meta.get("labels") or {}
        return [target_text(self.target, b, labels) for b in range(len(self.output))]

    def words(self) -> Self:
        """Merge the scores of sub-word tokens to whole words.

        Words are what white space parts, and Chinese characters and Japanese letters,
        as far as tokens part them. They are those of the text where ``meta`` has the
        ``"pieces"`` of it that tokens stand for, else those that the tokens' marks
        spell. A word's score is the sum of its tokens' scores. Special tokens stay
        alone, padding is dropped, and examples of fewer words end in zeros.

        Returns:
            A new explanation whose ``tokens`` are words and whose ``scores`` are
            ``[B, W]``, with ``W`` the largest number of words.

        Raises:
            ArgumentError: If the tokens are unknown or the scores are not ``[B, T]``.
        """
        if not isinstance(self.scores, Tensor) or self.scores.dim() != 2:
            raise ArgumentError(
                "words() needs the scores of one tensor of tokens, [B, T], got "
                f"{_shape(self.scores)}. Explain one tensor of one text an example."
            )
        if self.tokens is None:
            raise ArgumentError(
                "words() merges tokens, but tokens is None. Pass the tokenizer to "
                "explain(), or set explanation.tokens to one list of strings for each "
                "example."
            )
        grouping = group(
            self.tokens,
            length=self.scores.shape[1],
            special=self.meta.get("special"),
            attended=self.attended,
            mark=self.meta.get("subwords"),
            pieces=self.meta.get("pieces"),
        )
        return replace(self, **self._merged(grouping))

    def complete(self, bias: str = "site") -> Tensor:
        """Refuse to give back what constants took: see `Relevance.complete`.

        Args:
            bias: How that is shared.

        Raises:
            ArgumentError: Always, since there is no such ledger.
        """
        raise ArgumentError(
            f"complete({bias!r}) shares out the ledger of a Relevance, and this "
            f"{type(self).__name__} of {self.method!r} is none. explain(..., 'lrp') "
            "gives one."
        )

    def patches(self, size: int | tuple[int, int] | None = None) -> Self:
        """Sum the scores of images by patch.

        Args:
            size: The side of a patch in pixels, or its height and width; they divide
                the image's, and do not cut across the model's own. Defaults to
                ``None``: the model's own, where ``meta["patches"]`` tells them.

        Returns:
            A new explanation whose ``scores`` are ``[B, H / height, W / width]``; of
            several tensors those of images. Scores that are no images, and a size that
            does not fit them, are refused.
        """
        own = self.meta.get("patches", {})
        return replace(self, scores=by_patch(self.scores, size, own))

    def view(self) -> Any:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings: a sheet, but for kinds that are shown otherwise.
        """
        return Sheet([view(self)])

    def to_dataframe(self) -> DataFrame:
        """Write every score with its token as a row of a table.

        Returns:
            A pandas table with the columns ``method``, ``example``, ``target``,
            ``output``, ``position``, ``token``, ``special`` and ``score``; images have
            ``row`` and ``column`` instead of the token, and ``input`` names the tensor
            where several were read; ``class_specific`` says of scores of no class that
            they are. Padding is left out.
        """
        return export.to_dataframe(view(self, whole=True))

    def to_shap(self, distinct: bool = False) -> ShapExplanation:
        """Hand the scores to SHAP's plots.

        Args:
            distinct: Whether each distinct token is one feature of all texts, with the
                sum of its scores in each and how often it comes there as data, as
                ``beeswarm``, ``heatmap``, ``violin`` and ``scatter`` need it: of
                several texts they otherwise fail, on operands that cannot be
                broadcast or indices out of range. Defaults to false: each text has its
                own tokens, in their order, as ``text``, ``waterfall`` and ``bar`` show
                them.

        Returns:
            A ``shap.Explanation`` with one row of values for each example, tokens as
            names of features, and as base value what no token has: values and base
            value sum to the output, as SHAP's plots expect. Scores of no class are
            refused; of others that are not made to sum to the output, an
            `AdditivityWarning` says that the base value is only what they leave of it.
        """
        check_sums(self, "to_shap")
        return export.to_shap(view(self, whole=True), distinct)

    def to_captum_records(
        self,
        probabilities: Sequence[float] | None = None,
        true_classes: Sequence[str] | None = None,
        predicted_classes: Sequence[str] | None = None,
    ) -> list[VisualizationDataRecord]:
        """Hand the scores to ``captum.attr.visualization.visualize_text``.

        Scores are divided by the largest absolute one, since Captum colours from -1 to
        1; tokens and labels are escaped, since Captum writes them into the page as
        they are.

        Args:
            probabilities: Of the predicted class, one for each example. Defaults to
                ``None``: NaN.
            true_classes: Labels, one for each example. Defaults to ``None``:
                ``"unknown"``.
            predicted_classes: The same of what the model says. Defaults to ``None``:
                ``meta["prediction"]``, else ``"unknown"``.

        Returns:
            One record for each example; its attribution label is what was explained,
            ``"of no class"`` where scores are of none, and its convergence score is the
            output minus the sum of scores.
        """
        return export.to_captum_records(
            view(self, whole=True), probabilities, true_classes, predicted_classes
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything into one file, bit by bit as it is.

        A target that is a function is saved as its name.

        Args:
            path: The file to write: ``.safetensors``, as also without an ending, or,
                larger but plain to read, ``.json``. An older file is replaced once
                this one is whole.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what ``save`` wrote, as the class that it was.

        Args:
            path: The file to read.

        Returns:
            The explanation, its tensors on the CPU. A file that holds something
            else is refused.
        """
        return storage.load_as(path, cls, base=Explanation)

    def __repr__(self) -> str:
        """Return the class, the method, the shapes, the targets and the outputs."""
        outputs = ", ".join(f"{value:.4g}" for value in self.output.flatten().tolist())
        return (
            f"{type(self).__name__}(method={self.method!r}, "
            f"scores={_shape(self.scores)}, targets={self.targets}, "
            f"output=[{outputs}])"
        )

    def _merged(self, grouping: Grouping) -> dict[str, Any]:
        """Return the fields that ``words`` replaces; subclasses add their own."""
        assert isinstance(self.scores, Tensor)
        meta = {k: v for k, v in self.meta.items() if k != "subwords"}
        if "segments" in meta:
            meta["segments"] = grouping.of_words(meta["segments"])
        return {
            "scores": grouping.fold(self.scores),
            "tokens": grouping.words,
            "attended": grouping.attended.to(self.scores.device),
            "meta": {**meta, "special": grouping.special, "pieces": grouping.pieces},
        }


def _shape(scores: Tensor | Mapping[str, Tensor]) -> str:
    """Return the shape of a tensor, or of each of several by name."""
    if isinstance(scores, Tensor):
        return str(list(scores.shape))
    return "{" + ", ".join(f"{k}: {list(v.shape)}" for k, v in scores.items()) + "}"
