"""DecompX (Modarressi et al., ACL 2023), by backward passes wherever that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.readout import Contrast, select
from ...engine.wrappers import named_modules
from ...errors import ArgumentError, TargetError, UnsupportedModelError
from ...support.numbers import is_whole
from ...support.suggest import did_you_mean
from ..base import Explainer, check_option
from ..calls import check_one_text
from .backward import explain_backward, extra_column
from .biases import LINEAR, RULES
from .decomposition import Settings
from .explanation import DecompXExplanation
from .forward import Recording, decompose_batch, record_encoder
from .pushing import explain_pushed
from .reading import Place, find_place
from .shelf import STAGES
from .sources import Source, checked_source
from .table import Asked

__all__ = ["DecompX"]


class DecompX(Explainer):
    """Attributions by vectors that each token contributes to every hidden state.

    With attention weights, LayerNorm's scale and activations' slopes frozen, a hidden
    state is a sum of one vector a source token, x_i = sum_k x_{i<=k} (eq. 1), down to
    the logits (eq. 14). Biases are shared by a rule (eq. 5). For rules that do not look
    at the vectors this is conservative relevance: one backward pass a class, and for
    hidden states tangents of the linearised twin, serve any architecture. Rules that
    look at vectors go through the blocks of an encoder, or from one bias to the next.
    """

    def __init__(
        self,
        model: nn.Module,
        bias: str = "equal",
        activation: str = "secant",
        value_bias: str = "follow",
        include_ffn: bool = True,
        include_classifier: bool = True,
        stages: Sequence[str] = (),
        vectors: bool = False,
        chunk: int | None = None,
        strict: bool = False,
        sources: str | Source = "tokens",
    ) -> None:
        """Choose the variant.

        Args:
            model: The model; it is instrumented during a call and restored after it.
            bias: How biases are shared among the sources. By one backward pass:
                ``"equal"``ly, ``"none"`` (left out), to the ``"first"`` token, or to
                a further ``"token"``, the last column. By forward decomposition: in
                proportion to ``"absdot"`` |b . z_k| (the paper's choice), ``"abssim"``
                |cos(b, z_k)|, or ``"norm"`` ||z_k||.
            activation: ``"secant"`` takes f(x)/x as the slope of GELU and tanh (the
                paper's zero-offset approximation), ``"tangent"`` f'(x) (its linear
                approximation), whose offset is shared as a bias.
            value_bias: ``"follow"``: in the first layer the value's bias goes with
                attention to the token that it was added at, as in the published code;
                ``"distribute"``: it is a bias like any other.
            include_ffn: Whether feed-forward networks take part.
            include_classifier: Whether to go on to the logits. Otherwise scores are
                ||x_{i<=k}|| after the last layer, at the token that the head takes; of
                the mean of all tokens' vectors where it takes each, or there is none.
            stages: Vectors to return as well: ``"attention"``, ``"res1"``, ``"ln1"``,
                ``"ffn"``, ``"res2"``, ``"encoder"`` of every layer, ``"aggregated"``
                after the last one, ``"pooler"``. Of models that are no such encoders:
                ``"encoder"`` (after every block), ``"aggregated"``, and names of
                modules whose output to decompose. Each is in ``.layers[stage]``, but
                those that are no layer's: ``.aggregated`` and ``.pooler``.
            vectors: Return those vectors whole rather than their norms.
            chunk: How many tokens' vectors are worked on at a time. Defaults to
                ``None``: what keeps memory small.
            strict: Whether a module without a rule is an error rather than a warning.
            sources: What is decomposed into: ``"tokens"`` (of an encoder-decoder both
                sides' for stages), or `Spans`, `Heads`, `Neurons` or a `Subspace`;
                then the last column is all that is none of these.

        Raises:
            ArgumentError: If an option has a value that does not exist.
        """
        super().__init__(model)
        check_option(self, "bias", bias, ("none", *RULES))
        check_option(self, "activation", activation, ("secant", "tangent"))
        check_option(self, "value_bias", value_bias, ("follow", "distribute"))
        flags = {"include_ffn": include_ffn, "include_classifier": include_classifier}
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                raise ArgumentError(f"{name}={flag!r} must be True or False.")
        self.stages = _checked_stages(model, stages)
        self.source = checked_source(model, sources)
        if chunk is not None and not (is_whole(chunk) and chunk > 0):
            raise ArgumentError(
                f"chunk={chunk!r} must be a whole number of tokens from 1 on, or None."
            )
        self.settings = Settings(bias, activation, value_bias, include_ffn, chunk)
        self.include_classifier = include_classifier
        self.vectors = vectors
        self.strict = strict
        self._place: Place | None = None  # found at the first call

    def __call__(self, inputs: Any, target: Any = None) -> DecompXExplanation:
        """Explain one output of each example, or all.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As `Instrumentation.attribute` takes it, or ``"all"`` for every
                class; not for ``include_classifier=False``.

        Returns:
            The attributions, 0 at padding.

        Raises:
            ArgumentError: If a target is given where no class is explained.
        """
        check_one_text(self.model, inputs, "DecompX")
        if self._place is None:
            self._place = find_place(self.model, inputs)
        if not self.include_classifier and target is not None:
            raise ArgumentError(
                f"target={target!r} chooses a class, and include_classifier=False "
                "stops before there are any; leave one of them out. Of a model without "
                "a head, where explain() needs a target, call "
                "DecompX(model, include_classifier=False)(inputs)."
            )
        if self.source is not None or not set(self.stages) <= set(STAGES):
            return self._push(inputs, target, self._place)
        if self._needs_vectors():
            return self._decompose(inputs, target, self._place)
        return explain_backward(
            self.model, self.settings, self.strict, self._place, inputs, target
        )

    def _needs_vectors(self) -> bool:
        settings = self.settings
        # A tangent's offset cannot be told from what a left-out branch had.
        mixed = settings.activation == "tangent" and not settings.include_ffn
        nonlinear = settings.bias not in LINEAR
        return nonlinear or mixed or bool(self.stages) or not self.include_classifier

    def _push(
        self, inputs: Any, target: Any, place: Place, why: str = ""
    ) -> DecompXExplanation:
        """Push tangents forward, on any architecture."""
        settings = self.settings
        by_vectors = settings.bias not in LINEAR
        whole = settings.include_ffn and not (by_vectors and self.source)
        if not whole or (by_vectors and settings.activation == "tangent"):
            options = f"bias={settings.bias!r}, activation={settings.activation!r}"
            raise UnsupportedModelError(
                f"{options}, include_ffn={settings.include_ffn} needs the blocks of an "
                f"encoder, and tokens as sources. {why}{_INSTEAD}"
            )
        asked = Asked(self.stages, self.vectors, self.include_classifier, self.source)
        return explain_pushed(
            self.model, settings, self.strict, place, asked, inputs, target
        )

    def _decompose(self, inputs: Any, target: Any, place: Place) -> DecompXExplanation:
        try:
            recording = record_encoder(self.model, inputs, place)
        except UnsupportedModelError as error:
            return self._push(inputs, target, place, f"{error} ")
        return self._put_together(recording, target)

    @torch.no_grad()
    def _put_together(self, recording: Recording, target: Any) -> DecompXExplanation:
        classes, taken, kept = decompose_batch(
            recording, self.settings, self.stages, self.vectors
        )
        logits = recording.encoder.logits
        if self.include_classifier:
            scores, output, chosen = _choose(classes, logits, target, self.model)
        else:
            scores, output, chosen = taken, taken.sum(1), None
        mask = recording.forward.call.mask
        return DecompXExplanation(
            scores=scores,
            output=output,
            target=chosen,
            method="decompx",
            attended=None if mask is None else recording.attended,
            aggregated=kept.pop("aggregated", None),
            pooler=kept.pop("pooler", None),
            layers=kept,
            meta={
                "path": "forward",
                "bias": self.settings.bias,
                **extra_column(self.settings),
                "read": [recording.read],
                "model": type(self.model).__name__,
            },
        )


def _checked_stages(model: nn.Module, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages asked for.

    Raises:
        ArgumentError: If one does not exist.
    """
    if not isinstance(stages, Sequence):
        raise ArgumentError(
            f"stages={stages!r} must be a list of {', '.join(map(repr, STAGES))}, or "
            "of names of modules."
        )
    names = (stages,) if isinstance(stages, str) else tuple(stages)
    known = {*STAGES, *(name for name, _ in named_modules(model) if name)}
    for stage in names:
        if stage not in known:
            raise ArgumentError(
                f"stages={stage!r} must be one of {', '.join(map(repr, STAGES))}, or "
                f"the name of a module.{did_you_mean(stage, known)}"
            )
    return names


_INSTEAD = (
    "Take bias='equal', 'first', 'token' or 'none', which work on any architecture."
)


def _choose(
    classes: Tensor, logits: Tensor, target: Any, model: nn.Module
) -> tuple[Tensor, Tensor, Any]:
    """Select what is explained from the attributions of all classes.

    Returns:
        Scores [B, K], outputs [B] and targets; [B, K, C] and [B, C] for all.

    Raises:
        TargetError: If the target is a function.
    """
    if isinstance(target, str) and target == "all":
        return classes, logits, "all"
    if callable(target) and not isinstance(target, Contrast):
        raise TargetError(
            f"target={target!r} is a function, which a forward decomposition cannot "
            "take back to the logits. Pass a class, a label or a Contrast."
        )
    chosen = select(logits, target, model, len(logits), None)
    columns = [
        select(column, chosen.target, model, len(logits), None).scalar
        for column in classes.unbind(1)
    ]
    return torch.stack(columns, 1), chosen.scalar, chosen.target
