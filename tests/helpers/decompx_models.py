"""Small encoders that DecompX is tested on, each with the call it is tested with."""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional as F

from folders import arrays
from oracles import randomised
from shared_models import shared
from strategies import reseed

TEXT = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
}
IMAGE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}
DISTIL = {
    "vocab_size": 30,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 20,
}
DECODER = {"bos_token_id": 1, "eos_token_id": 2}
GPT = {"vocab_size": 30, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 20}
BART = {
    "vocab_size": 30,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 20,
    "decoder_start_token_id": 2,
}
OPT = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 24,
    "max_position_embeddings": 20,
    "word_embed_proj_dim": 16,
}
PADDED = {"pad_token_id": 0, **DECODER}
SMALL_EMBEDDING = {**TEXT, "embedding_size": 8}
CONFIGS = {
    "Bert": TEXT,
    "Roberta": TEXT,
    "XLMRoberta": TEXT,
    "Camembert": TEXT,
    "DistilBert": DISTIL,
    "Electra": SMALL_EMBEDDING,
    "MPNet": TEXT,
    "RoFormer": SMALL_EMBEDDING,
    "Ernie": TEXT,
    "Albert": SMALL_EMBEDDING,
    "MegatronBert": TEXT,
    "ViT": IMAGE,
    "DeiT": IMAGE,
    "Dinov2": IMAGE,
    "GPT2": {**GPT, **PADDED},
    "Llama": {**TEXT, **DECODER, "num_key_value_heads": 1},
    "OPT": {**OPT, **PADDED},
    "ModernBert": {**TEXT, **DECODER, "cls_token_id": 1, "sep_token_id": 2},
    "Bart": {**BART, **PADDED},
    "XLNet": {"vocab_size": 30, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 9},
    "Longformer": {**TEXT, "attention_window": 4, "max_position_embeddings": 40},
    "ConvNext": {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2},
}
IMAGES = ("ViT", "DeiT", "Dinov2", "ConvNext")


@shared
def tiny(name: str, kernel: str | None = None, dtype=torch.float64) -> nn.Module:
    """Return a classifier of three classes with random parameters, for reading only."""
    return fresh(name, kernel, dtype)


def fresh(name: str, kernel: str | None = None, dtype=torch.float64) -> nn.Module:
    """Return one that may be changed."""
    config = getattr(hf, f"{name}Config")(**CONFIGS[name], num_labels=3)
    if kernel is not None:
        config._attn_implementation = kernel
    head = "ForImageClassification" if name in IMAGES else "ForSequenceClassification"
    with torch.random.fork_rng():
        reseed(0)
        model = getattr(hf, name + head)(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def batch(name: str = "Bert", padding: str = "right", dtype=torch.float64):
    """Return two examples of six tokens, the second of which has four; or images."""
    generator = torch.Generator().manual_seed(1)
    if name in IMAGES:
        pixels = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
        return {"pixel_values": pixels.to(dtype)}
    ids = torch.randint(3, 30, (2, 6), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, slice(4, 6) if padding == "right" else slice(0, 2)] = 0
    ids[mask == 0] = 0
    if name == "Bart":
        ids[0, 5] = ids[1, 3] = 2
    return {"input_ids": ids, "attention_mask": mask}


@shared
def published(kernel="sdpa", dtype=torch.float64) -> nn.Module:
    """Return the model that the authors' own code was run on."""
    config = hf.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=64,
        max_position_embeddings=40,
        num_labels=3,
        pad_token_id=0,
    )
    config._attn_implementation = kernel
    model = hf.BertForSequenceClassification(config)
    model.load_state_dict(arrays("decompx/weights"))
    return model.to(dtype).eval()


def published_batch() -> dict[str, Tensor]:
    """Return what it was run on."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: arrays("decompx/golden")[name] for name in names}


def rows(inputs: dict[str, Tensor], index) -> dict[str, Tensor]:
    """Return some examples of a batch."""
    return {key: value[index] for key, value in inputs.items()}


class Attention(nn.Module):
    """Two heads, written out or fused."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in "qkvo")
        self.fused = fused

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        sizes = (*x.shape[:2], 2, 4)
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).view(sizes).transpose(1, 2) for layer in layers)
        open_ = None if mask is None else mask[:, None, None].bool()
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=open_)
        else:
            scores = q @ k.mT / math.sqrt(4)
            if open_ is not None:
                scores = scores.masked_fill(~open_, -math.inf)
            mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """A post-LN layer."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.attention = Attention(fused)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.activation = nn.GELU()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.down(self.activation(self.up(x))))


class Encoder(nn.Module):
    """Words, a norm, two layers, and what a subclass makes of them."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.norm = nn.LayerNorm(8)
        self.blocks = nn.ModuleList(Block(fused) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        x = self.norm(self.words(input_ids))
        for block in self.blocks:
            x = block(x, attention_mask)
        return x

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return self.head(self.encode(input_ids, attention_mask)[:, 0])


def made(kind: type[nn.Module], *args: object, seed: int = 0) -> nn.Module:
    """Return a module in float64 with random parameters."""
    return randomised(kind(*args).double(), seed)


class TorchEncoder(nn.Module):
    """PyTorch's own layers as a classifier."""

    def __init__(self, batch_first: bool = True, normalised: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.norm = nn.LayerNorm(8) if normalised else nn.Identity()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        x = self.norm(self.words(input_ids))
        hidden = None if attention_mask is None else attention_mask == 0
        if self.batch_first:
            return self.head(self.encoder(x, src_key_padding_mask=hidden)[:, 0])
        turned = self.encoder(x.transpose(0, 1), src_key_padding_mask=hidden)
        return self.head(turned[0])
