"""Rarer functions against the same function spelled otherwise, for all live subsets."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lrp_hooks import UnruledWarning, instrument
from oracles import Calls, closes, exact, of, passed, random

SHAPE = (2, 3, 4)
INDEX = torch.tensor([[[0, 2, 1, 1]], [[1, 0, 2, 0]]]).expand(2, 3, 4)
GRID = random(2, 3, 4, seed=3).tanh()[..., :2].unsqueeze(1) * 0.9


def count(x):
    return (x != 0).sum(-1, keepdim=True).to(x)


def product(a, b):
    """A product of a and every row of b, shared evenly by what carries relevance."""
    if a.requires_grad and b.requires_grad:
        return torch.cat([a, b], 1).prod(1, keepdim=True)
    return a * b.prod(1, keepdim=True)


PAIRS = {
    "lerp": (torch.lerp, lambda a, b, c: a + c * (b - a)),
    "addcdiv": (
        lambda a, b, c: torch.addcdiv(a, b, c, value=0.5),
        lambda a, b, c: a + 0.5 * (b / c),
    ),
    "addcmul": (
        lambda a, b, c: torch.addcmul(a, b, c, value=0.5),
        lambda a, b, c: a + (b * c) * 0.5,
    ),
    "dist": (
        lambda a, b, c: torch.dist(a, b, 3)[None],
        lambda a, b, c: (a - b).norm(3)[None],
    ),
    "cdist": (
        lambda a, b, c: torch.cdist(a, b),
        lambda a, b, c: torch.stack(
            [(row[:, None] - b).norm(dim=-1) for row in a.unbind(1)], 1
        ),
    ),
    "pdist": (
        lambda a, b, c: F.pdist(a[0] * b[0], 1),
        lambda a, b, c: torch.stack([
            (x - y).norm(1) for x, y in itertools.combinations((a * b)[0], 2)
        ]),
    ),
    "hypot": (
        lambda a, b, c: torch.hypot(a, b),
        lambda a, b, c: torch.stack([a, b]).norm(dim=0),
    ),
    "logaddexp": (
        lambda a, b, c: torch.logaddexp(a, b),
        lambda a, b, c: torch.stack([a, b]).logsumexp(0),
    ),
    "logcumsumexp": (
        lambda a, b, c: torch.logcumsumexp(a, 1),
        lambda a, b, c: torch.stack(
            [a[:, : i + 1].logsumexp(1) for i in range(a.shape[1])], 1
        ),
    ),
    "xlogy": (
        lambda a, b, c: torch.xlogy(a, b.abs()),
        lambda a, b, c: a * b.abs().log(),
    ),
    "vecdot": (
        lambda a, b, c: torch.linalg.vecdot(a, b),
        lambda a, b, c: (a * b).sum(-1),
    ),
    "tensordot": (
        lambda a, b, c: torch.tensordot(a, b[0], dims=([1, 2], [0, 1])),
        lambda a, b, c: (a * b[0]).sum((1, 2)),
    ),
    "rsub, alpha": (
        lambda a, b, c: torch.rsub(a, b, alpha=0.3),
        lambda a, b, c: b - 0.3 * a,
    ),
    "polar": (
        lambda a, b, c: torch.polar(a.abs(), b).imag,
        lambda a, b, c: a.abs() * b.detach().sin(),
    ),
    "stft": (
        lambda a, b, c: torch.view_as_real(
            torch.stft(a.flatten(1), 4, window=b[0, 0], return_complex=True)
        ),
        lambda a, b, c: torch.view_as_real(
            torch.fft.rfft(
                F.pad(a.flatten(1)[:, None], (2, 2), mode="reflect")[:, 0].unfold(
                    -1, 4, 1
                )
                * b[0, 0]
            ).mT
        ),
    ),
    "floor division": (
        lambda a, b, c: torch.div(a, b, rounding_mode="floor"),
        lambda a, b, c: torch.floor(a / b.detach()),
    ),
    "remainder": (
        lambda a, b, c: torch.remainder(a, b),
        lambda a, b, c: a * (torch.remainder(a, b) / a).detach(),
    ),
    "atan2": (
        lambda a, b, c: torch.atan2(a, b) * c,
        lambda a, b, c: torch.atan2(a, b).detach() * c,
    ),
    "heaviside": (
        lambda a, b, c: torch.heaviside(a, b) * c,
        lambda a, b, c: torch.heaviside(a.detach(), b.detach()) * c,
    ),
    "norm, p=0": (
        lambda a, b, c: a.norm(p=0, dim=-1, keepdim=True) * b,
        lambda a, b, c: count(a) * b,
    ),
    "scatter_reduce, prod": (
        lambda a, b, c: a.scatter_reduce(1, INDEX % 1, b, "prod")[:, :1],
        lambda a, b, c: product(a[:, :1], b),
    ),
    "scatter_reduce, prod, without self": (
        lambda a, b, c: a.scatter_reduce(1, INDEX % 1, b, "prod", include_self=False)[
            :, :1
        ],
        lambda a, b, c: b.prod(1, keepdim=True),
    ),
    "scatter_reduce, amax": (
        lambda a, b, c: a.scatter_reduce(1, INDEX % 1, b, "amax")[:, :1],
        lambda a, b, c: torch.maximum(a[:, :1], b.amax(1, keepdim=True)),
    ),
    "scatter_reduce, mean": (
        lambda a, b, c: a.scatter_reduce(1, INDEX % 1, b, "mean")[:, :1],
        lambda a, b, c: torch.cat([a[:, :1], b], 1).mean(1, keepdim=True),
    ),
    "segment_reduce, prod": (
        lambda a, b, c: torch.segment_reduce(
            a, "prod", lengths=torch.tensor([[2, 1]] * 2), axis=1
        ),
        lambda a, b, c: torch.stack([a[:, 0] * a[:, 1], a[:, 2]], 1),
    ),
    "grid_sample": (
        lambda a, b, c: F.grid_sample(
            a[:, None], GRID * b[..., :2].unsqueeze(1).tanh(), align_corners=False
        ),
        lambda a, b, c: F.grid_sample(
            a[:, None],
            (GRID * b[..., :2].unsqueeze(1).tanh()).detach(),
            align_corners=False,
        ),
    ),
    "layer_norm, gain and shift": (
        lambda a, b, c: F.layer_norm(a, (4,), b[0, 0], c[0, 0]),
        lambda a, b, c: F.layer_norm(a, (4,)) * b[0, 0] + c[0, 0],
    ),
    "group_norm, gain and shift": (
        lambda a, b, c: F.group_norm(a, 1, b[0, :, 0], c[0, :, 0]),
        lambda a, b, c: F.group_norm(a, 1) * b[0, :, :1] + c[0, :, :1],
    ),
    "linear, weight and bias": (
        lambda a, b, c: F.linear(a, b[0], c[0, 0, :3]),
        lambda a, b, c: a @ b[0].mT + c[0, 0, :3],
    ),
    "batch statistics": (
        lambda a, b, c: F.batch_norm(a, None, None, training=True),
        lambda a, b, c: (
            (a - a.mean((0, 2), keepdim=True))
            / (a.var((0, 2), correction=0, keepdim=True) + 1e-5).sqrt().detach()
        ),
    ),
}
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(range(3), n)]


def carrying(function, live):
    """Call a function with constants in the places that are not live."""
    held = {f"held{i}": random(*SHAPE, seed=20 + i) for i in range(3)}

    def forward(m, *inputs):
        given = iter(inputs)
        values = [
            next(given) * 1 if i in live else getattr(m, f"held{i}") for i in range(3)
        ]
        # What keeps the graph where the function is a gate of all that is live.
        return function(*values) + 0 * sum(v.sum() for v in inputs)

    return Calls(forward, **held)


def as_one(function):
    """Take the whole batch for one example: rows of some functions' inputs meet."""

    def of_one(*values):
        return function(*(v[0] if v.ndim > len(SHAPE) else v for v in values))[None]

    return of_one


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_has_the_rules_of_its_definition(name):
    function, same = PAIRS[name]
    for live in SUBSETS:
        inputs = [random(*SHAPE, seed=30 + i) for i in live]
        for rules in ("conservative", "attnlrp"):
            # Rows of a batch meet in some of them: every source is in the total.
            found = passed(carrying(function, live), *inputs, rules=rules)
            right = passed(carrying(same, live), *inputs, rules=rules)
            for a, b in zip(found, right, strict=True):
                exact(a, b)


@pytest.mark.parametrize("name", PAIRS)
def test_what_constants_bring_is_in_the_ledger(name):
    for live in SUBSETS:
        inputs = [random(1, *SHAPE, seed=30 + i) for i in live]
        closes(carrying(as_one(PAIRS[name][0]), live), *inputs)


def test_bounds_that_carry_relevance_take_what_they_win():
    function, same = (
        lambda a, b, c: torch.clamp(a, min=b, max=c),
        lambda a, b, c: torch.minimum(torch.maximum(a, b), c),
    )
    for live in SUBSETS[1:]:
        inputs = [random(*SHAPE, seed=30 + i) for i in live]
        found = passed(carrying(function, live), *inputs)
        right = passed(carrying(same, live), *inputs)
        for a, b in zip(found, right, strict=True):
            exact(a, b)
        closes(carrying(as_one(function), live), *(x[None] for x in inputs))


def test_what_a_segment_begins_with_is_told():
    def function(x):
        starts = torch.tensor([[2, 1]] * 2)
        return torch.segment_reduce(x, "max", lengths=starts, axis=1, initial=0.3)

    with instrument(of(function)) as lrp, pytest.warns(UnruledWarning, match="segment"):
        lrp.attribute(random(*SHAPE), target=lambda y: y.flatten(1).sum(1))


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "ah+ln"])
def test_functions_under_vmap_are_told(rules):
    model = of(lambda x: torch.vmap(lambda u, v: u * v)(x, x.flip(-1)))
    with instrument(model, rules) as lrp:
        if rules == "ah+ln":  # products are left to their own gradient anyway
            return
        with pytest.warns(UnruledWarning, match="mul in a transform of torch.func"):
            lrp.attribute(random(2, 4), target=1)


COMPLEX = {
    "modulus": lambda z, c: z.abs(),
    "square of the modulus": lambda z, c: z.abs() ** 2,
    "+ number": lambda z, c: (z + (1 + 2j)).imag,
    "number -": lambda z, c: (2j - z).imag,
    "+ tensor": lambda z, c: (z + c).real + (z - c).imag,
    "where": lambda z, c: torch.where(z.real > 0, z, c).imag,
    "cat": lambda z, c: torch.cat([z, c.expand_as(z)], 1).real,
    "masked_fill": lambda z, c: z.masked_fill(z.real > 0, 2 - 1j).real,
    "tanh": lambda z, c: torch.tanh(z).real,
    "sin, at 0": lambda z, c: torch.sin(z * (z.real > 0)).imag,
    "sqrt": lambda z, c: z.sqrt().real,
    "product": lambda z, c: (z * z.flip(1) * c).real,
    "product with its conjugate": lambda z, c: (z * z.conj()).real,
    "matmul": lambda z, c: (z @ z.mT).imag,
    "power": lambda z, c: (z**3).real,
    "angle": lambda z, c: z.abs() * z.angle(),
    "polar": lambda z, c: torch.polar(z.abs(), z.angle()).imag,
    "from parts": lambda z, c: (torch.complex(z.real, c.imag.expand(2, 4)) * c).imag,
    "filter": lambda z, c: F.silu(torch.fft.irfft(z + c, n=6)),
    "linear": lambda z, c: F.linear(z, c.expand(3, 4), c[:3]).imag,
}


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_close_the_ledger(name, rules, seed):
    constant = torch.complex(random(4, seed=seed + 1), random(4, seed=seed + 2))

    def function(m, x):
        z = torch.view_as_complex(x.reshape(2, 4, 2))
        return COMPLEX[name](z, m.constant)[None] + 0 * x.sum()

    model = Calls(function, constant=constant)
    closes(model, random(1, 16, seed=seed), rules=rules)


def test_a_complex_function_passes_relevance_unchanged():
    def plain(x):
        return torch.tanh(torch.complex(x, x.flip(1)))

    def same(x):
        z = torch.complex(x, x.flip(1))
        return z * (torch.tanh(z) / z).detach()

    x = random(2, 4)
    found, right = (passed(of(lambda x, f=f: f(x).real), x) for f in (plain, same))
    exact(found[0], right[0])
