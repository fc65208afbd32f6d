"""The tangent path: vectors of every hidden state, on any architecture.

What the linearised twin makes of each source is pushed forward through the model's own
code, to all stages at once; what is left of a hidden state are the constants, which a
bias rule that does not look at vectors shares.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...attribution.blocks import BLOCKS
from ...attribution.inputs import Call
from ...attribution.instrument import instrument
from ...attribution.passes import Request, forward_pass, prepared
from ...engine.subject import Subject
from ...engine.undo import undoing
from ...errors import UnruledWarning, UnsupportedModelError
from .backward import RULES
from .biases import LINEAR
from .decomposition import Settings
from .explanation import DecompXExplanation
from .reading import Place
from .shelf import LAYER_STAGES
from .sites import Sites
from .sources import Heads
from .table import Asked, Table
from .value_bias import ValueBias

__all__ = ["explain_pushed"]


def explain_pushed(
    model: nn.Module,
    settings: Settings,
    strict: bool,
    place: Place,
    asked: Asked,
    inputs: Any,
    target: Any,
) -> DecompXExplanation:
    """Decompose hidden states and logits by pushing tangents forward.

    Args:
        model: Any model the engine covers.
        settings: The variant, with a linear bias rule.
        strict: See `instrument`.
        place: Where vectors start.
        asked: What is asked for.
        inputs: See `Instrumentation.attribute`.
        target: See `DecompX`.

    Returns:
        The attributions, and the vectors of the stages asked for.
    """
    subject = Subject(model)
    with (
        instrument(model, RULES[settings.activation], strict=strict) as lrp,
        undoing() as undo,
        prepared(subject, inputs) as call,
    ):
        linear = settings.bias in LINEAR
        follows = linear and settings.value_bias == "follow" and asked.source is None
        bias = ValueBias(subject, place, undo) if follows else None
        read, layers = _wrt(asked, place, call), _layers(asked)
        request = Request(inputs, target, read, layers, _complain, whole=True)
        runtime = lrp.runtime
        with _differentiable_twice(model):
            forward = forward_pass(subject, runtime, call, request, Sites)
        for hidden in forward.seen.values():
            runtime.report_graph(hidden, forward.collector)
        table = Table(model, forward, settings, asked, bias)
        return table.explanation(subject, target)


def _differentiable_twice(model: nn.Module) -> AbstractContextManager[object]:
    """Keep to attention whose backward pass can be differentiated.

    On the CPU that is the rule's own; elsewhere fused kernels have none.

    Returns:
        A context for the forward pass.
    """
    fused = any(parameter.device.type != "cpu" for parameter in model.parameters())
    return sdpa_kernel(SDPBackend.MATH) if fused else nullcontext()


def _complain(message: str) -> None:
    warnings.warn(message, UnruledWarning, stacklevel=2)


def _wrt(asked: Asked, place: Place, call: Call) -> Any:
    """Return where to read: of encoder-decoders, both sides' tokens."""
    if asked.source is not None:
        return getattr(asked.source, "wrt", None) or place.wrt
    both = [n for n in ("input_ids", "decoder_input_ids") if n in call.kwargs]
    return both if len(both) == 2 else place.wrt


def _layers(asked: Asked) -> tuple[str, ...]:
    """Return what a forward pass is to watch.

    Raises:
        UnsupportedModelError: If a stage is an encoder's alone.
    """
    stages = [s for s in asked.stages if s not in {"encoder", "aggregated"}]
    inside = [s for s in stages if s in {*LAYER_STAGES, "pooler"}]
    if inside:
        raise UnsupportedModelError(
            f"stages={inside[0]!r} is a step inside the blocks of encoders that can be "
            "read off a forward pass, which this model's cannot. Take 'encoder', "
            "'aggregated', or names of modules whose output to decompose."
        )
    blocks = len(stages) < len(asked.stages) or not asked.include_classifier
    heads = (asked.source.watched,) if isinstance(asked.source, Heads) else ()
    return (*stages, *heads, *((BLOCKS,) if blocks else ()))
