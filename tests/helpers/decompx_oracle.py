"""DecompX written out: dense vectors and loops, straight from the paper's equations.

It shares nothing with the library: the slopes of GELU are closed forms, the true hidden
states are computed beside the vectors, and biases are shared source by source.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["decomposed"]


def _share(rule: str, z: Tensor, bias: Tensor) -> list[float]:
    """Return the part of a bias of each source, for the vectors z [K, D] (eq. 5)."""
    n = len(z)
    if rule in {"first", "token"}:
        chosen = 0 if rule == "first" else n - 1
        return [float(k == chosen) for k in range(n)]
    weights = []
    for vector in z:
        dot, length = abs(float(vector @ bias)), float(vector.norm())
        cosine = 0.0 if length == 0 else dot / (length * float(bias.norm()))
        found = {"absdot": dot, "norm": length, "abssim": cosine, "equal": 1.0}
        weights.append(found[rule])
    return [weight / sum(weights) for weight in weights]


def _add(rule: str, z: Tensor, bias: Tensor) -> Tensor:
    """Return z [n, K, D] with a bias [D] or [n, D] added to the token's sources."""
    if rule == "none":
        return z
    z = z.clone()
    for i in range(len(z)):
        own = bias[i] if bias.ndim == 2 else bias
        for k, share in enumerate(_share(rule, z[i].clone(), own)):
            z[i, k] += share * own
    return z


def _norm(rule: str, norm: nn.LayerNorm, z: Tensor, true: Tensor) -> Tensor:
    """Return g(z) with the deviation of the true vectors, and the bias (eq. 8)."""
    out = torch.zeros_like(z)
    for i in range(len(z)):
        deviation = math.sqrt(float(true[i].var(correction=0)) + norm.eps)
        for k in range(z.shape[1]):
            out[i, k] = (z[i, k] - z[i, k].mean()) / deviation * norm.weight
    return _add(rule, out, norm.bias)


def _attention(attention: nn.Module, x: Tensor) -> Tensor:
    """Return the attention weights of the true vectors x [n, D], [H, n, n]."""
    rows = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        q = x @ attention.query.weight[part].T + attention.query.bias[part]
        k = x @ attention.key.weight[part].T + attention.key.bias[part]
        rows.append(torch.softmax(q @ k.T / 2, -1))
    return torch.stack(rows)


def _mixed(attention: nn.Module, p: Tensor, x: Tensor, follow: bool) -> Tensor:
    """Return sum_h sum_j p_h[i, j] W_O^h (W_V^h x[j, k] + b_V^h if j is k) (eq. 3)."""
    out = torch.zeros_like(x)
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        project = attention.out.weight[:, part]
        for i in range(len(x)):
            for j in range(len(x)):
                for k in range(x.shape[1]):
                    v = attention.value.weight[part] @ x[j, k]
                    if follow and j == k:
                        v += attention.value.bias[part]
                    out[i, k] += p[h, i, j] * (project @ v)
    return out


def _line(activation: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope and the offset that stand for GELU at x."""
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    if activation == "secant":
        return below, torch.zeros_like(x)
    density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return below + x * density, -x * x * density


@torch.no_grad()
def decomposed(
    model: nn.Module,
    ids: Tensor,
    bias: str,
    activation: str = "secant",
    value_bias: str = "follow",
    include_ffn: bool = True,
) -> dict[str, Tensor]:
    """Decompose one example of `decompx_models.Encoder`.

    Args:
        model: The encoder, whose head takes the first token.
        ids: [n].
        bias: The bias rule.
        activation: See `DecompX`.
        value_bias: See `DecompX`.
        include_ffn: See `DecompX`.

    Returns:
        Vectors [L, n, K, D] by stage, ``"classes"`` [K, C], and the true ``"logits"``.
    """
    h = model.norm(model.words(ids))
    n = len(h)
    x = torch.zeros(n, n + (bias == "token"), 8, dtype=h.dtype)
    x[range(n), range(n)] = h
    stages: dict[str, list[Tensor]] = {}

    def keep(**found: Tensor) -> None:
        for stage, vectors in found.items():
            stages.setdefault(stage, []).append(vectors)

    for layer, block in enumerate(model.blocks):
        own = block.attention
        follow = layer == 0 and value_bias == "follow"
        p = _attention(own, h)
        values = h @ own.value.weight.T + own.value.bias
        joined = torch.cat([p[0] @ values[:, :4], p[1] @ values[:, 4:]], 1)
        middle = h + joined @ own.out.weight.T + own.out.bias
        carried = 0 if follow else own.out.weight @ own.value.bias
        mixed = _mixed(own, p, x, follow)
        res1 = _add(bias, mixed + x, own.out.bias + carried)
        ln1 = _norm(bias, block.norm1, res1, middle)
        h = block.norm1(middle)
        up = h @ block.up.weight.T + block.up.bias
        slope, offset = _line(activation, up)
        inner = _add(bias, ln1 @ block.up.weight.T, block.up.bias) * slope[:, None]
        if activation == "tangent":
            inner = _add(bias, inner, offset)
        ffn = _add(bias, inner @ block.down.weight.T, block.down.bias)
        outer = h + (up * _line("secant", up)[0]) @ block.down.weight.T
        outer += block.down.bias
        res2 = ln1 + ffn if include_ffn else ln1
        x = _norm(bias, block.norm2, res2, outer)
        h = block.norm2(outer)
        keep(attention=mixed, res1=res1, ln1=ln1, res2=res2, encoder=x)
        if include_ffn:
            keep(ffn=ffn)
    found = {stage: torch.stack(vectors) for stage, vectors in stages.items()}
    found["classes"] = _add(bias, (x[0] @ model.head.weight.T)[None], model.head.bias)[
        0
    ]
    found["logits"] = model.head(h[0])
    return found
