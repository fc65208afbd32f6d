"""The forward path: every bias rule, and the vectors of every stage."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.passes import Forward
from ...attribution.readout import find_logits
from ...attribution.sharing import shared
from ...errors import ArgumentError, UnsupportedModelError
from .blocks import SUPPORTED, read_encoder
from .decomposition import Settings, decompose
from .encoder import Encoder
from .reading import Place, record
from .shelf import Shelf

__all__ = ["Recording", "decompose_batch", "record_encoder"]


@dataclass(frozen=True)
class Recording:
    """A batch that went through an encoder.

    Attributes:
        encoder: The encoder, with all examples.
        forward: The forward pass.
        attended: Boolean [B, T].
        read: The name of what was read.
    """

    encoder: Encoder
    forward: Forward
    attended: Tensor
    read: str

    def examples(self) -> Generator[tuple[int, Tensor, Encoder]]:
        """Go through the examples.

        Yields:
            The row, the positions of its tokens [n], and its encoder without padding.
        """
        for row, attended in enumerate(self.attended):
            positions = attended.nonzero().flatten()
            yield row, positions, self.encoder.example(row, positions)


def record_encoder(model: nn.Module, inputs: Any, place: Place) -> Recording:
    """Run a model, and read its blocks off the tape.

    Args:
        model: An encoder with a classifier.
        inputs: What it is called with.
        place: Where vectors start.

    Returns:
        The recording. A model that is no such encoder is an `UnsupportedModelError`.
    """
    what = ("encoder", place)
    return shared(what, model, inputs, lambda: _recorded(model, inputs, place))


def _recorded(model: nn.Module, inputs: Any, place: Place) -> Recording:
    tape, forward = record(model, inputs, place.wrt)
    logits = find_logits(forward.output)
    if logits.ndim > 2:
        raise UnsupportedModelError(
            f"{type(model).__name__} returns outputs of shape {tuple(logits.shape)}, "
            f"not one row of logits an example. {SUPPORTED}"
        )
    ((read, leaf),) = forward.reads.items()
    encoder = read_encoder(tape.node(logits), tape.node(leaf))
    mask = forward.call.mask
    attended = encoder.x.new_ones(encoder.x.shape[:2], dtype=torch.bool)
    if mask is not None:
        attended = mask.detach() != 0
    return Recording(encoder, forward, attended, read)


def decompose_batch(
    recording: Recording, settings: Settings, stages: Sequence[str], whole: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Decompose every example.

    Args:
        recording: The batch.
        settings: What is decomposed, and how.
        stages: Which vectors to keep; see `Shelf`.
        whole: Keep vectors rather than norms.

    Returns:
        Class attributions [B, K, C], the norms of the vectors that the head takes
        [B, K], and what was kept.
    """
    encoder, (batch, length) = recording.encoder, recording.attended.shape
    n_sources = length + (settings.bias == "token")
    shelf = Shelf(stages, whole, (len(encoder.blocks), batch, length, n_sources))
    classes = encoder.x.new_zeros(batch, n_sources, encoder.logits.shape[-1])
    taken = encoder.x.new_zeros(batch, n_sources)
    for row, tokens, example in recording.examples():
        extra = torch.arange(length, n_sources, device=tokens.device)
        sources = torch.cat([tokens, extra])
        with _advising_on_memory(example, settings):
            done = decompose(example, settings, shelf.keeper(row, tokens, sources))
        _check_complete(done.classes, example, settings)
        classes[row, sources] = done.classes
        taken[row, sources] = torch.linalg.vector_norm(done.taken, dim=-1)
        shelf.put("aggregated", done.last, (row, tokens[:, None], sources))
        shelf.put("pooler", done.pooled, (row, sources))
    return classes, taken, shelf.tables


def _check_complete(classes: Tensor, encoder: Encoder, settings: Settings) -> None:
    """Refuse attributions that miss the logits: then something was not read off.

    Raises:
        UnsupportedModelError: If they do.
    """
    if settings.bias == "none" or not settings.include_ffn:
        return  # these are not meant to sum to the logits
    scale = classes.abs().sum(0) + encoder.logits.abs()
    gap = ((classes.sum(0) - encoder.logits).abs() / scale.clamp(min=1e-30)).max()
    if float(gap) > torch.finfo(classes.dtype).eps ** 0.4:
        raise UnsupportedModelError(
            f"the decomposition misses the logits by {float(gap):.1e} of its terms: "
            f"something in the model was not seen. {SUPPORTED}"
        )


@contextmanager
def _advising_on_memory(encoder: Encoder, settings: Settings) -> Generator[None]:
    """Say what to do when memory runs out.

    Raises:
        ArgumentError: If it does.
    """  # noqa: DOC501 (what is raised again)
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own are RuntimeErrors
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        n, width = encoder.x.shape
        size = n * n * width * encoder.x.element_size() / 2**20
        raise ArgumentError(
            f"decomposing {n} tokens needs a buffer of {size:.0f} MiB and more, which "
            "do not fit into memory. Take bias='equal', 'first', 'token' or 'none', "
            f"which need no decomposition, {_smaller(settings.chunk or n)}or a shorter "
            "text."
        ) from error


def _smaller(chunk: int) -> str:
    return f"a chunk of fewer than {chunk} tokens, " if chunk > 1 else ""
