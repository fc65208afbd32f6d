"""What a random net is made of: each step takes values [B, T, D] and returns one.

A step is a function of its values, or a maker of a module that is called with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

__all__ = ["MODULES", "OPAQUE", "STATEMENTS", "TWO", "UNARY", "WIDTH"]

Function = Callable[..., Tensor]
LENGTH, WIDTH = 3, 4

ACTIVATIONS: dict[str, Function] = {
    **{
        name: getattr(F, name)
        for name in "relu gelu silu tanh sigmoid softplus elu selu mish hardswish "
        "hardsigmoid hardtanh leaky_relu relu6 celu softsign logsigmoid "
        "tanhshrink softshrink hardshrink".split()
    },
    **{
        name: getattr(torch, name)
        for name in "sin cos abs square atan erf sinc asinh expm1 sinh exp2".split()
    },
    "exp": lambda x: (-x.abs()).exp(),
    "sqrt": lambda x: (x.square() + 1).sqrt(),
    "reciprocal": lambda x: 1 / (1 + x * x),
    "log1p": lambda x: torch.log1p(x * x),
    "pow": lambda x: x**3,
    "power of a number": lambda x: 1.5**x,
    "clamp": lambda x: x.clamp(min=-0.2, max=0.7),
    "glu": lambda x: F.glu(torch.cat([x, x.flip(-1)], -1)),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gate of one's own": lambda x: x * (x > 0),
    "xlogy": lambda x: torch.xlogy(x, x.abs() + 0.5),
    "lerp": lambda x: torch.lerp(x, x.flip(1), torch.sigmoid(x)),
    "frac": lambda x: x - x.detach().floor(),
}

NORMALISATIONS: dict[str, Function] = {
    "softmax": lambda x: x.softmax(-1) * x,
    "softmax alone": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1, keepdim=True) + 0 * x,
    "normalize": lambda x: F.normalize(x, dim=-1),
    "norm 1": lambda x: x / (1 + x.norm(p=1, dim=-1, keepdim=True)),
    "norm 3": lambda x: x / (1 + x.norm(p=3, dim=-1, keepdim=True)),
    "std": lambda x: x / (1 + x.std(-1, keepdim=True)),
    "var_mean": lambda x: torch.var_mean(x, -1, keepdim=True)[0] + x,
    "rms": lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6),
    "layer_norm": lambda x: F.layer_norm(x, (WIDTH,)),
    "rms_norm": lambda x: F.rms_norm(x, (WIDTH,)),
    "group_norm": lambda x: F.group_norm(x.transpose(1, 2), 2).transpose(1, 2),
    "instance_norm": F.instance_norm,
    "batch statistics": lambda x: F.batch_norm(
        x.transpose(1, 2), None, None, training=True
    ).transpose(1, 2),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(1), -1)[..., None] * x,
    "cdist": lambda x: torch.cdist(x, x) @ x,
}

SHAPES: dict[str, Function] = {
    "roll": lambda x: x.roll(1, 1),
    "roll over examples": lambda x: x.roll(1, 0),
    "flip": lambda x: x.flip(-1),
    "swap halves": lambda x: torch.cat(x.chunk(2, -1)[::-1], -1),
    "stack": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "gather": lambda x: x.gather(-1, x.detach().argsort(-1)),
    "index": lambda x: x[:, [2, 0, 0]],
    "index_select": lambda x: x.index_select(1, torch.tensor([1, 1, 0])),
    "sort": lambda x: x.sort(-1).values,
    "topk": lambda x: torch.zeros_like(x).scatter(-1, *_flipped(x.topk(2))),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: x.cummax(1).values,
    "max": lambda x: x - x.max(-1, keepdim=True).values,
    "amax": lambda x: x + x.amax(1, keepdim=True),
    "prod": lambda x: x + x.prod(1, keepdim=True),
    "median": lambda x: x - x.median(-1, keepdim=True).values,
    "pad": lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1],
    "where": lambda x: torch.where(x > 0, x, -0.1),
    "masked_fill": lambda x: x.masked_fill(x < -0.5, -0.5),
    "masked attention": lambda x: _attention(x, float("-inf")),
    "causal": lambda x: torch.ones(LENGTH, LENGTH).tril().to(x) @ x,
    "einsum": lambda x: torch.einsum("btd,bsd,bse->bte", x, x, x),
    "complex": lambda x: (
        torch
        .view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        .abs()
        .repeat_interleave(2, -1)
    ),
    "rotation": lambda x: torch.view_as_real(
        torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        * torch.tensor(0.6 + 0.8j)
    ).flatten(-2),
    "max_pool": lambda x: F.max_pool1d(x, 2, 1, 0).repeat_interleave(2, -1)[
        ..., :WIDTH
    ],
    "avg_pool": lambda x: F.avg_pool1d(x, 3, 1, 1),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2, mode="linear")[..., ::2],
    "index_add": lambda x: x.index_add(1, torch.tensor([0, 2]), x[:, 1:]),
    "scatter_reduce": lambda x: x.scatter_reduce(
        1, torch.zeros_like(x[:, :1]).long(), x[:, 1:2] + 2, "prod"
    ),
    "grid_sample": lambda x: F.grid_sample(
        x[:, None], torch.stack([x.tanh(), x.flip(1).tanh()], -1), align_corners=False
    )[:, 0],
    "detached gate": lambda x: x * x.detach().sigmoid(),
    "new zeros": lambda x: x + torch.zeros(LENGTH, WIDTH).to(x),
    "sequence first": lambda x: (x.transpose(0, 1).tanh() * 1.5).transpose(0, 1),
}

UNARY = {**ACTIVATIONS, **NORMALISATIONS, **SHAPES}

TWO: dict[str, Function] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda x, y: x / (1 + y.abs()),
    "rounded div": lambda x, y: torch.div(x, 1 + y.abs(), rounding_mode="floor") + x,
    "matmul": lambda x, y: x @ y.transpose(1, 2) @ x,
    "attention": lambda x, y: F.scaled_dot_product_attention(x, y, x + y),
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "logaddexp": torch.logaddexp,
    "maximum": torch.maximum,
    "fmin": torch.fmin,
    "addcmul": lambda x, y: torch.addcmul(x, y, x, value=0.5),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, 2 + x.abs()),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "learned lerp": lambda x, y: torch.lerp(x, y, x.sigmoid()),
    "where": lambda x, y: torch.where(x > y, x, y * 2),
    "polar": lambda x, y: torch.polar(x.abs(), y).real,
    "cross": lambda x, y: torch.linalg.cross(x[..., :3], y[..., :3])[..., [0, 1, 2, 0]],
    "bilinear": lambda x, y: torch.einsum("btd,bte->btd", x, y),
    "copysign": torch.copysign,
    "pow": lambda x, y: (1 + x.abs()) ** y.tanh(),
    "vecdot": lambda x, y: torch.linalg.vecdot(x, y)[..., None] + x,
    "cat": lambda x, y: torch.cat([x[..., :2], y[..., 2:]], -1),
    "xlogy": lambda x, y: torch.xlogy(x, 1 + y.abs()),
    "remainder": lambda x, y: torch.remainder(x, 1 + y.abs()),
}


def _flipped(found: Any) -> tuple[Tensor, Tensor]:
    return found.indices, found.values


def _attention(x: Tensor, nothing: float) -> Tensor:
    scores = x @ x.transpose(1, 2)
    mask = torch.ones(LENGTH, LENGTH).triu(1).bool()
    return scores.masked_fill(mask, nothing).softmax(-1) @ x


def _statement(act: Callable[[Tensor, Tensor], object]) -> Function:
    """Make a step of a statement that overwrites a copy."""

    def step(x: Tensor) -> Tensor:
        y = x * 1.5
        act(y, x)
        return y

    return step


def _assign(y: Tensor, x: Tensor) -> None:
    y[:, 1] = x[:, 0].tanh()


def _loop(y: Tensor, x: Tensor) -> None:
    for t in range(1, LENGTH):
        y[:, t] = y[:, t - 1] * torch.sigmoid(x[:, t]) + x[:, t]


def _view(y: Tensor, x: Tensor) -> None:
    y.view(-1, WIDTH).add_(x.reshape(-1, WIDTH))


def _half(y: Tensor, x: Tensor) -> None:
    y[..., :2].mul_(x[..., 2:])


def _out(y: Tensor, x: Tensor) -> None:
    torch.mul(x.detach(), 2, out=y.detach())


def _unseen(y: Tensor, x: Tensor) -> None:
    with torch.no_grad():
        y.mul_(x)


STATEMENTS: dict[str, Function] = {
    name: _statement(act)
    for name, act in {
        "sigmoid_": lambda y, x: y.sigmoid_(),
        "tanh_": lambda y, x: y[:, 1:].tanh_(),
        "exp_": lambda y, x: y.neg_().exp_(),
        "clamp_": lambda y, x: y.clamp_(min=0.1),
        "pow_": lambda y, x: y.pow_(2),
        "cumprod_": lambda y, x: y.cumprod_(1),
        "relu_": lambda y, x: F.relu(y, inplace=True),
        "hardsigmoid_": lambda y, x: F.hardsigmoid(y, inplace=True),
        "add_": lambda y, x: y.add_(x, alpha=0.5),
        "mul_": lambda y, x: y.mul_(x.sigmoid()),
        "div_": lambda y, x: y.div_(1 + x.abs()),
        "copy_": lambda y, x: y[:, 0].copy_(x[:, 2]),
        "masked_fill_": lambda y, x: y.masked_fill_(x > 0.5, 0.3),
        "index_copy_": lambda y, x: y.index_copy_(1, torch.tensor([1]), x[:, :1]),
        "scatter_": lambda y, x: y.scatter_(
            1, torch.zeros(y.shape[0], 1, WIDTH).long(), x[:, :1]
        ),
        "zero_": lambda y, x: y[:, 2].zero_(),
        "a[:, 1] = b": _assign,
        "a loop that fills": _loop,
        "a view": _view,
        "half": _half,
        "behind autograd's back": _out,
        "under no_grad": _unseen,
    }.items()
}


class Free(nn.Module):
    """Has no parameter: it uses one that belongs to another module."""

    def __init__(self, function: Function, *others: nn.Parameter) -> None:
        super().__init__()
        self.function = function
        self.others = lambda: others  # no attribute that torch would register

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.others())


class Owner(nn.Module):
    """Lends a parameter to a module that knows of none."""

    def __init__(self, function: Function, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))
        self.free = Free(function, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.free(x)


class Called(nn.Module):
    """Calls a module through a function of the step."""

    def __init__(self, inner: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, *values: Tensor) -> Tensor:
        return self.call(self.inner, *values)


def _functional(inner: nn.Module, x: Tensor) -> Tensor:
    swapped = {name: 1.5 * p for name, p in inner.named_parameters()}
    return functional_call(inner, swapped, (x,))


def _recurrent(kind: type[nn.Module]) -> nn.Module:
    return Called(kind(WIDTH, WIDTH, batch_first=True), lambda inner, x: inner(x)[0])


def _cell(kind: type[nn.Module]) -> nn.Module:
    def call(inner: nn.Module, x: Tensor) -> Tensor:
        state, found = None, []
        for t in range(LENGTH):
            state = inner(x[:, t], state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)

    return Called(kind(WIDTH, WIDTH), call)


def _without_batch(inner: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([inner(row.T).T for row in x])


def _hooked(inner: nn.Module) -> nn.Module:
    inner.register_forward_pre_hook(lambda module, args: (args[0].tanh(),))
    inner.register_forward_hook(lambda module, args, output: output * args[0])
    return inner


def _low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return x + x @ a @ b


def _tree(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(WIDTH, WIDTH),
    "Linear, no bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "LayerNorm": lambda: nn.LayerNorm(WIDTH),
    "RMSNorm": lambda: nn.RMSNorm(WIDTH),
    "BatchNorm1d": lambda: nn.BatchNorm1d(LENGTH),
    "GroupNorm": lambda: nn.GroupNorm(1, LENGTH),
    "Conv1d": lambda: nn.Conv1d(LENGTH, LENGTH, 3, padding=1),
    "Conv1d without batch": lambda: Called(
        nn.Conv1d(WIDTH, WIDTH, 3, padding=1), _without_batch
    ),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(LENGTH, LENGTH, 3, padding=1),
    "PReLU": nn.PReLU,
    "GELU": nn.GELU,
    "ReLU(inplace)": lambda: _tree(nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True)),
    "Hardsigmoid(inplace)": lambda: _tree(
        nn.Linear(WIDTH, WIDTH), nn.Hardsigmoid(inplace=True)
    ),
    "Softmax": lambda: nn.Softmax(-1),
    "Bilinear": lambda: Called(
        nn.Bilinear(WIDTH, WIDTH, WIDTH), lambda inner, x: inner(x, x.flip(1))
    ),
    "MultiheadAttention": lambda: Called(
        nn.MultiheadAttention(WIDTH, 2, batch_first=True),
        lambda inner, x: inner(x, x, x)[0],
    ),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(
        WIDTH, 2, 8, batch_first=True
    ),
    "LSTM": lambda: _recurrent(nn.LSTM),
    "GRU": lambda: _recurrent(nn.GRU),
    "RNN": lambda: _recurrent(nn.RNN),
    "LSTMCell": lambda: _cell(nn.LSTMCell),
    "GRUCell": lambda: _cell(nn.GRUCell),
    "RNNCell": lambda: _cell(nn.RNNCell),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)),
    "a lent weight": lambda: Owner(torch.matmul, WIDTH, WIDTH),
    "a lent gate": lambda: Owner(lambda x, w: x * w.sigmoid(), WIDTH),
    "a learned query": lambda: Owner(
        lambda x, w: (F.rms_norm(w, (WIDTH,)) @ x.transpose(1, 2)).softmax(-1) @ x,
        LENGTH,
        WIDTH,
    ),
    "a low-rank weight": lambda: Owner(
        lambda x, w: _low_rank(x, w[:, :2], w[:2]), WIDTH, WIDTH
    ),
    "functional_call": lambda: Called(nn.Linear(WIDTH, WIDTH), _functional),
    "hooks of others on a leaf": lambda: _hooked(nn.Linear(WIDTH, WIDTH)),
    "hooks of others on a norm": lambda: _hooked(nn.LayerNorm(WIDTH)),
    "checkpoint": lambda: Called(
        _tree(nn.Linear(WIDTH, WIDTH), nn.GELU()),
        lambda inner, x: checkpoint(inner, x, use_reentrant=False),
    ),
    "reentrant checkpoint": lambda: Called(
        _tree(nn.Linear(WIDTH, WIDTH), nn.GELU()),
        lambda inner, x: checkpoint(inner, x, use_reentrant=True),
    ),
    "checkpointed lambda": lambda: Called(
        nn.Linear(WIDTH, WIDTH),
        lambda inner, x: checkpoint(
            lambda x: F.gelu(inner(x)) * x.sigmoid(), x, use_reentrant=False
        ),
    ),
    "Dropout": lambda: nn.Dropout(0.5),
    "embedding of a sign": lambda: Called(
        nn.Embedding(2, WIDTH), lambda inner, x: x + inner((x[..., 0] > 0).long())
    ),
}


class Doubled(torch.autograd.Function):
    """A custom function with a backward of its own, which no rule knows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x²."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the ordinary gradient."""
        (x,) = ctx.saved_tensors
        return 2 * x * grad


OPAQUE: dict[str, Function] = {
    "a custom function": Doubled.apply,
    "vmap": torch.vmap(lambda row: row * row.sigmoid()),
    "special.ndtr": torch.special.ndtr,
    "bessel_j0": torch.special.bessel_j0,
    "lgamma": lambda x: torch.lgamma(x.abs() + 1),
    "linalg.inv": lambda x: x @ torch.linalg.inv(torch.eye(WIDTH).to(x) + x.mT @ x),
    "fmod": lambda x: torch.fmod(x, 0.7),
}
"""What may be told of rather than ruled."""
