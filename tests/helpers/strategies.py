"""A small grammar of networks: what a Transformer can be made of, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 8
VOCABULARY = 11
EPSILON = {torch.float32: 1e-5, torch.float64: 1e-10}

seeds = st.integers(0, 2**31)
dtypes = st.sampled_from([torch.float32, torch.float64])
NORMS = ("layer", "rms", "torch_rms", "none")
POOLS = ("mean", "first", "last", "max", "tanh")
LAYOUTS = ("batch_first", "time_first", "flat", "flat_time_first")
PARTS = ("mlp", "gate", "explicit", "fused", "causal", "torch_attention", "reused")


@dataclass(frozen=True)
class Spec:
    """What a network is made of.

    Attributes:
        parts: The blocks, names of `PARTS`.
        norms: The normalisation of each block.
        layout: How tokens are laid out inside the blocks.
        pool: How tokens become one vector.
        bias: Whether layers, norms and embeddings add constants.
        class_token: Whether a trained token is put first.
        pre: Whether a block normalises its input, or its output.
        activation: The function of the multilayer perceptrons.
        overwrite: Whether the residual is added to a layer's own output in place.
    """

    parts: tuple[str, ...] = PARTS
    norms: tuple[str, ...] = ("layer",) * len(PARTS)
    layout: str = "batch_first"
    pool: str = "mean"
    bias: bool = True
    class_token: bool = False
    pre: bool = True
    activation: str = "gelu"
    overwrite: bool = False


either = st.booleans()


@st.composite
def specs(draw, bias=either, class_token=either) -> Spec:
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
    return Spec(
        parts=tuple(parts),
        norms=tuple(draw(st.sampled_from(NORMS)) for _ in parts),
        layout=draw(st.sampled_from(LAYOUTS)),
        pool=draw(st.sampled_from(POOLS)),
        bias=draw(bias),
        class_token=draw(class_token),
        pre=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu", "relu", "silu", "tanh"])),
        overwrite=draw(st.booleans()),
    )


class RMSNorm(nn.Module):
    """As language models spell it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x * scale)


class Attention(nn.Module):
    """Two heads; explicit, fused, or causal; keyword-only mask; a tuple comes out."""

    def __init__(self, bias: bool, kind: str) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=bias)
        self.out = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.kind = kind

    def forward(self, *, hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        batch, length, _ = hidden.shape
        parts = self.qkv(hidden).view(batch, length, 3, 2, -1).permute(2, 0, 3, 1, 4)
        if self.kind == "explicit":
            scores = parts[0] @ parts[1].transpose(-1, -2) / (WIDTH / 2) ** 0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            mixed = scores.softmax(-1) @ parts[2]
        else:
            causal = self.kind == "causal"
            if causal and mask is not None:
                seen = torch.ones(length, length, dtype=torch.bool).tril()
                # A padded query sees at least itself.
                mask = (mask & seen) | torch.eye(length, dtype=torch.bool)
            mixed = F.scaled_dot_product_attention(
                *parts, attn_mask=mask, is_causal=causal and mask is None
            )
        return self.out(mixed.transpose(1, 2).reshape(hidden.shape)), None


class Gate(nn.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=bias)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=bias)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Perceptron(nn.Module):
    """Works on whatever stands before the last dimension."""

    def __init__(self, bias: bool, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=bias)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=bias)
        self.function = getattr(torch, activation, None) or getattr(F, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.function(self.up(x)))


class Block(nn.Module):
    """x + part(norm(x)), or norm(x + part(x))."""

    def __init__(self, part: str, norm: str, spec: Spec) -> None:
        super().__init__()
        self.part, self.layout, self.pre = part, spec.layout, spec.pre
        self.overwrite = spec.overwrite
        self.norm = _norm(norm, spec.bias)
        if part == "torch_attention":
            first = spec.layout == "batch_first"
            self.inner = nn.MultiheadAttention(
                WIDTH, 2, bias=spec.bias, batch_first=first
            )
        elif part in {"explicit", "fused", "causal"}:
            self.inner = Attention(spec.bias, part)
        elif part == "gate":
            self.inner = Gate(spec.bias)
        else:
            self.inner = Perceptron(spec.bias, spec.activation)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        given = self.norm(x) if self.pre else x
        made = self._mix(given, mask)
        made = made.add_(x) if self.overwrite else made + x
        return made if self.pre else self.norm(made)

    def _mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.part == "torch_attention":
            hidden = None if mask is None else ~mask
            turned = x if self.inner.batch_first else x.transpose(0, 1)
            out, _ = self.inner(turned, turned, turned, key_padding_mask=hidden)
            return out if self.inner.batch_first else out.transpose(0, 1)
        if self.part in {"explicit", "fused", "causal"}:
            allowed = None if mask is None else mask[:, None, None, :]
            return self.inner(hidden=x, mask=allowed)[0]
        turned = x.transpose(0, 1) if "time_first" in self.layout else x
        flat = turned.reshape(-1, WIDTH) if "flat" in self.layout else turned
        out = self.inner(flat)
        if self.part == "reused":
            out = self.inner(out)
        out = out.view(turned.shape)
        return out.transpose(0, 1) if "time_first" in self.layout else out


def _norm(kind: str, bias: bool) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(WIDTH, bias=bias)
    if kind == "rms":
        return RMSNorm()
    return nn.RMSNorm(WIDTH) if kind == "torch_rms" else nn.Identity()


class Network(nn.Module):
    """Classifies ids ``[B, T]``, or embeddings ``[B, T, D]``, into three classes."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        if spec.bias:
            self.position = nn.Embedding(32, WIDTH)
        if spec.class_token:
            self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        blocks = zip(spec.parts, spec.norms, strict=True)
        self.blocks = nn.ModuleList(Block(part, norm, spec) for part, norm in blocks)
        self.head = nn.Linear(WIDTH, 3, bias=spec.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        mask = None if attention_mask is None else attention_mask.bool()
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        if self.spec.bias:
            places = torch.arange(x.shape[1], device=x.device)
            x = self.position(places) + x
        if self.spec.class_token:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
            mask = None if mask is None else F.pad(mask, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self._pool(x, mask))

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.spec.pool == "tanh":
            return torch.tanh(x[:, 0])
        if mask is None:
            mask = x.new_ones(x.shape[:2], dtype=torch.bool)
        if self.spec.pool == "mean":
            return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if self.spec.pool == "max":
            return x.masked_fill(~mask[..., None], -torch.inf).amax(1)
        places = torch.arange(x.shape[1]).where(mask, -1).amax(1)
        last = x[torch.arange(len(x)), places]
        return last if self.spec.pool == "last" else x[:, 0]


def reseed(seed: int) -> None:
    """Seed the CPU alone; `torch.manual_seed` notes the stack for each other device."""
    torch.default_generator.manual_seed(seed)


def build(spec: Spec = Spec(), seed: int = 0, dtype=torch.float64) -> Network:
    """Return a network with every parameter away from its special values."""
    with torch.random.fork_rng():
        reseed(seed)
        model = Network(spec)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    """Return ids ``[B, T]``, distinct in a row: a tie has no winner in a maximum."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(batch, max(length, VOCABULARY), generator=generator)
    return places.argsort(1)[:, :length] % VOCABULARY


def padded(rows, left, length=7):
    """Return rows of ids in a batch with its mask."""
    batch = torch.full((len(rows), length), 1)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for row, own in enumerate(rows):
        at = slice(length - len(own), None) if left else slice(None, len(own))
        batch[row, at], mask[row, at] = own, 1
    return {"input_ids": batch, "attention_mask": mask}


def noise(*shape: int, seed: int = 0, dtype=torch.float64) -> Tensor:
    """Return normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
