"""Sentence encoders of sentence-transformers: a tiny BERT and what stands behind it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

WIDTH = 32
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(59)))
KINDS: dict[str, type[nn.Module]] = {
    "encoder": BertModel,
    "reader": BertForSequenceClassification,
    "speller": BertForMaskedLM,
}


def folder(kind: str) -> Path:
    """Save a tiny BERT, as these libraries take models from folders.

    Args:
        kind: A key of `KINDS`.

    Returns:
        Where it is; it stays there for as long as the process runs.
    """
    path = Path(_kept.name) / kind
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=64, intermediate_size=64, num_labels=1, **sizes)
    model: Any = KINDS[kind](config)
    model.save_pretrained(path)
    core = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = ("pad", "unk", "cls", "sep", "mask")
    marks = {f"{n}_token": f"[{n.upper()}]" for n in names}
    PreTrainedTokenizerFast(tokenizer_object=core, **marks).save_pretrained(path)
    return path


def encoder(
    pooling: str = "mean",
    first: nn.Module | None = None,
    width: int = WIDTH,
    behind: tuple[Any, ...] = (),
) -> nn.Module:
    """Make a `SentenceTransformer`.

    Args:
        pooling: How token vectors become one.
        first: What stands between the tokens' vectors and pooling.
        width: How wide the vectors are that are pooled.
        behind: What stands behind pooling.

    Returns:
        The model.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Pooling,
        Transformer,
    )

    reads = [Transformer(str(folder("encoder"))), *([] if first is None else [first])]
    pooled = Pooling(width, pooling_mode=pooling)
    modules = [*reads, pooled, *behind]
    model: nn.Module = SentenceTransformer(modules=modules, device="cpu")
    return model


def cross_encoder() -> nn.Module:
    """Make a `CrossEncoder`."""
    from sentence_transformers import CrossEncoder

    model: nn.Module = CrossEncoder(str(folder("reader")), device="cpu")
    return model


def sparse_encoder() -> nn.Module:
    """Make a `SparseEncoder` of SPLADE's kind."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import (
        MLMTransformer,
        SpladePooling,
    )

    first = MLMTransformer(str(folder("speller")))
    model: nn.Module = SparseEncoder(modules=[first, SpladePooling()], device="cpu")
    return model


_kept = tempfile.TemporaryDirectory()
