"""Which inputs carry content: those are read where nobody says what to read.

Token ids, pixels, waveforms, features, series, nodes; not what says where content is,
what of it counts, or, as edges do, how its places stand to each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .readable import is_plain

__all__ = ["content_of", "may_be_merged"]

_IDS = "input_ids"
_NO_CONTENT = re.compile(
    r"mask|time_features|(^|_)(pos|positions?|bbox|box(es)?|points?|rotary|freqs?"
    r"|timesteps?|labels?|targets?|future|decoder"
    r"|edges?|distances?|adjacency|bias(es)?)(_|$)"
)
_MERGED = re.compile(r"pixel|image|video|audio|patch|input_features")


def content_of(tensors: Mapping[str, Tensor], main: str) -> dict[str, Tensor]:
    """Choose the inputs that carry content.

    What a decoder, or a forecast, has said so far is none of it: it is the model's own.

    Args:
        tensors: The inputs by name.
        main: The name of the main one.

    Returns:
        The main input, token ids, and floats, in the order of the inputs.
    """
    return {
        name: value
        for name, value in tensors.items()
        if name in {main, _IDS} or _carries(name, value)
    }


def may_be_merged(name: str) -> bool:
    """Tell inputs of which processors put those of all examples into one tensor.

    Args:
        name: The input.

    Returns:
        True for images, patches and sounds: an example may have several, or none.
    """
    return _MERGED.search(name) is not None


def _carries(name: str, value: Tensor) -> bool:
    return is_plain(value) and value.ndim > 0 and not _NO_CONTENT.search(name)
