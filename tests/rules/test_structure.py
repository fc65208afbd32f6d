"""What moves, sums and puts in constants: every constant is a source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_hooks import UnruledError, instrument
from oracles import Calls, check, closes, exact, of, passed, random, seed_like

SHAPE = (2, 3, 4)
MASK = random(*SHAPE, seed=11) > 0
INDEX = torch.tensor([[[0, 2, 1, 1]], [[1, 0, 2, 0]]])
HELD = random(2, 3, 4, seed=12)


def put(m, x):
    y = m.held.clone()
    y[:, 1] = x[:, 0]
    return y


def put_number(m, x):
    y = x.clone()
    y[:, :, 1] = 2.5
    y[MASK] = m.held[MASK]
    return y


def copied(m, x):
    y = torch.ones_like(x)
    y[..., :2].copy_(x[..., 2:])
    return y + x


def indexed(m, x):
    y = m.held.clone()
    return y.index_put((torch.tensor([0, 1]), torch.tensor([2, 0])), x[:, 1])


def accumulated(m, x):
    y = m.held.clone()
    y.index_add_(1, torch.tensor([0, 0, 2]), x)
    y += x
    return y


def filled(m, x):
    y = torch.zeros_like(x)
    y[:, 0] = m.held[:, 0]
    y[:, 1:] += x[:, 1:]
    return y


CASES = {
    "+ buffer": lambda m, x: x + m.held,
    "buffer + , broadcast": lambda m, x: m.held[:1, :1] + x,
    "- buffer": lambda m, x: x - m.held,
    "buffer -": lambda m, x: m.held - x,
    "+ tensor": lambda m, x: x + torch.full_like(x, 0.3),
    "+ number": lambda m, x: x + 1.5,
    "number -": lambda m, x: 1.0 - x,
    "- number": lambda m, x: x - 2,
    "+=": lambda m, x: x.clone().__iadd__(m.held),
    "add, alpha": lambda m, x: torch.add(x, m.held, alpha=-0.5),
    "sub, alpha": lambda m, x: torch.sub(x, m.held, alpha=2),
    "rsub": lambda m, x: torch.rsub(x, m.held),
    "add_, alpha": lambda m, x: x.clone().add_(m.held, alpha=3),
    "sub_": lambda m, x: x.clone().sub_(m.held),
    "add_ number": lambda m, x: x.clone().add_(0.5),
    "class token": lambda m, x: torch.cat([m.token.expand(2, 1, 4), x], 1),
    "cat": lambda m, x: torch.cat((x, m.held, x), dim=-1),
    "hstack": lambda m, x: torch.hstack([m.held, x]),
    "stack": lambda m, x: torch.stack([x, m.held], 1),
    "where": lambda m, x: torch.where(MASK, x, m.held),
    "where, a number": lambda m, x: torch.where(MASK, 0.7, x),
    "where, as method": lambda m, x: x.where(MASK, m.held),
    "masked_fill": lambda m, x: x.masked_fill(MASK, -3.0),
    "masked_fill_": lambda m, x: x.clone().masked_fill_(MASK, -3.0),
    "masked_fill, tensor": lambda m, x: x.masked_fill(MASK, torch.tensor(2.0)),
    "masked_scatter": lambda m, x: torch.stack([
        h.masked_scatter(MASK[0], r) for h, r in zip(m.held, x, strict=True)
    ]),
    "setitem into a buffer": put,
    "setitem of constants": put_number,
    "copy_": copied,
    "index_put": indexed,
    "index_add_": accumulated,
    "zeros filled": filled,
    "index_copy": lambda m, x: m.held.index_copy(1, torch.tensor([2, 0]), x[:, 1:]),
    "index_fill": lambda m, x: x.index_fill(2, torch.tensor([1]), 4.0),
    "scatter": lambda m, x: m.held.scatter(1, INDEX, x[:, :1]),
    "where, whole numbers": lambda m, x: torch.where(MASK, x, torch.tensor(3)),
    "cat, whole numbers": lambda m, x: torch.cat([x, INDEX.expand(-1, 1, -1)], 1),
    "masked_fill, whole": lambda m, x: x.masked_fill(MASK, torch.tensor(2)),
    "scatter a number": lambda m, x: x.scatter(1, INDEX, 1.5),
    "scatter_add": lambda m, x: m.held.scatter_add(1, INDEX, x[:, :1]),
    "slice_scatter": lambda m, x: m.held.slice_scatter(x[:, :2], 1, 0, 2),
    "select_scatter": lambda m, x: torch.select_scatter(x, m.held[:, 0], 1, 2),
    "pad": lambda m, x: F.pad(x, (1, 2), value=0.8),
    "pad with zeros": lambda m, x: F.pad(x, (1, 1)),
    "pad, reflected": lambda m, x: F.pad(x, (1, 1), mode="reflect"),
    "ConstantPad1d": lambda m, x: m.pad(x),
    "lerp": lambda m, x: torch.lerp(x, m.held, 0.3),
    "fill_": lambda m, x: torch.cat([x, torch.empty_like(x).fill_(0.2)], 1),
}
SILENT = {"pad with zeros", "pad, reflected"}


def model(name: str) -> nn.Module:
    token = nn.Parameter(random(1, 1, 4, seed=13))
    parts = {"held": HELD, "token": token, "pad": nn.ConstantPad1d(1, 0.4)}
    return Calls(CASES[name], **parts).double()


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "ah+ln"])
@pytest.mark.parametrize("name", CASES)
def test_constants_are_sources(name, rules):
    x, held = random(*SHAPE), HELD.clone()
    found = closes(model(name), x, rules=rules)
    lines = [v for v in found.ledger.sources.values() if v.any()]
    assert bool(lines) == (name not in SILENT)
    leaf = x.clone().requires_grad_()
    y = model(name)(leaf)
    (plain,) = torch.autograd.grad(y, leaf, seed_like(y))
    exact(found.values, plain * x)
    with torch.no_grad():
        constant = model(name)(torch.zeros_like(x))
    kept = (constant * seed_like(y)).flatten(1).sum(1)
    exact(sum(found.ledger.sources.values(), torch.zeros(2).double()), kept)
    assert torch.equal(HELD, held)


@pytest.mark.parametrize("name", ["+ buffer", "- buffer", "stack", "where", "rsub"])
def test_a_buffer_gives_its_source_a_name(name):
    assert set(closes(model(name), random(*SHAPE)).ledger.sources) == {"held"}


def test_the_class_token_gives_its_source_a_name():
    found = closes(model("class token"), random(*SHAPE))
    assert set(found.ledger.sources) == {"token"}


MOVES = {
    "views": lambda x: x.view(2, 12).reshape(2, 4, 3).transpose(1, 2).permute(0, 2, 1),
    "rearranged": lambda x: x.flip(1).roll(1, 2).movedim(1, 2).contiguous(),
    "split": lambda x: sum(x.split(2, -1)) + x.chunk(2, -1)[1],
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "repeat": lambda x: x.repeat(1, 2, 1) - x.repeat_interleave(2, 1),
    "expand": lambda x: x[:, :1].expand(2, 5, 4) + x.mean(1, keepdim=True),
    "gather": lambda x: x.gather(1, INDEX).squeeze(1),
    "index": lambda x: x[:, [2, 0]][..., 1:][:, :, None],
    "select": lambda x: x.select(1, 0) + x.narrow(1, 1, 1).squeeze(1),
    "triangles": lambda x: x.tril() - x.triu(),
    "sums": lambda x: x.cumsum(1) + x.sum(1, keepdim=True),
    "signs": lambda x: -x + x.neg() * 0.5,
    "scaled": lambda x: x * 3 / 2 + 0.5 * x,
    "einsum": lambda x: torch.einsum("bij->bji", x),
    "diagonal": lambda x: x.diagonal(0, 1, 2),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "fourier": lambda x: torch.fft.fft(x, dim=-1).real,
    "types": lambda x: x.float().double() * 0 + x.to(torch.float64).type_as(x),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "masked_select": lambda x: (
        x[:, 0].masked_select(torch.ones(2, 4).bool()).view(2, 4)
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_is_linear_needs_nothing(name):
    function = MOVES[name]
    check(of(function), function, random(*SHAPE))
    assert not closes(of(function), random(*SHAPE)).ledger.sources


def test_a_constant_that_is_overwritten_is_no_source():
    def function(m, x):
        y = m.held.clone()
        y[:] = x
        return y

    found = closes(Calls(function, held=HELD), random(*SHAPE))
    assert all(not v.any() for v in found.ledger.sources.values())


WEIGHT, BIAS = random(4, 4, seed=21), random(4, seed=22)
KEYWORDS = {
    "linear": lambda x: F.linear(input=x, weight=WEIGHT, bias=BIAS),
    "softmax": lambda x: F.softmax(input=x, dim=-1) + x,
    "layer_norm": lambda x: F.layer_norm(
        input=x, normalized_shape=(4,), weight=BIAS, bias=BIAS, eps=1e-3
    ),
    "group_norm": lambda x: F.group_norm(input=x, num_groups=1, eps=1e-3),
    "gelu": lambda x: F.gelu(input=x),
    "tanh": lambda x: torch.tanh(input=x),
    "glu": lambda x: F.glu(input=x, dim=-1),
    "mul": lambda x: torch.mul(input=x, other=WEIGHT[0]),
    "mul of two": lambda x: torch.mul(input=x, other=x),
    "matmul": lambda x: torch.matmul(input=x, other=WEIGHT),
    "add": lambda x: torch.add(input=x, other=BIAS),
    "div": lambda x: torch.div(input=x, other=x.abs() + 1),
    "pow": lambda x: torch.pow(input=x, exponent=2),
    "rsqrt": lambda x: x + torch.rsqrt(input=x.abs() + 1),
    "cat": lambda x: torch.cat(tensors=[x, x * 0 + BIAS], dim=1),
    "where": lambda x: torch.where(condition=x > 0, input=x, other=BIAS),
    "masked_fill": lambda x: x.masked_fill(mask=x > 1, value=0.5),
    "conv1d": lambda x: F.conv1d(input=x, weight=random(2, 3, 2), bias=BIAS[:2]),
    "addmm": lambda x: torch.addmm(input=BIAS, mat1=x[:, 0], mat2=WEIGHT),
    "bmm": lambda x: torch.bmm(input=x, mat2=x.mT),
    "attention": lambda x: F.scaled_dot_product_attention(query=x, key=x, value=x),
}


@pytest.mark.parametrize("name", KEYWORDS)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient"])
def test_functions_called_by_keyword(name, rules):
    model = of(KEYWORDS[name])
    passed(model, random(*SHAPE), rules=rules)
    if rules != "gradient":
        closes(model, random(*SHAPE), rules=rules)


LONE = {
    "Linear": nn.Linear(4, 3),
    "LayerNorm": nn.LayerNorm(4, elementwise_affine=False),
    "GELU": nn.GELU(),
    "Tanh": nn.Tanh(),
    "RMSNorm": nn.RMSNorm(4),
    "Conv1d": nn.Conv1d(3, 2, 2),
    "BatchNorm1d": nn.BatchNorm1d(3),
    "GLU": nn.GLU(),
}


@pytest.mark.parametrize("name", LONE)
def test_a_lone_layer_is_a_model_too(name):
    layer, x = LONE[name].double().eval(), random(*SHAPE)
    found = closes(layer, x)
    exact(found.values, closes(nn.Sequential(layer), x).values)
    with instrument(layer):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
    grads: tuple[Tensor, ...] = (torch.zeros_like(x),)
    if y.requires_grad:
        grads = torch.autograd.grad(y, leaf, seed_like(y))
    exact(grads[0] * x, found.values)


def test_a_lone_softmax_hands_on_nothing_and_says_so():
    layer, x = nn.Softmax(-1), random(*SHAPE)
    with pytest.raises(UnruledError, match="made by Softmax"):
        closes(layer, x)
    with instrument(layer):
        assert not layer(x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("func", [torch.max, torch.min])
def test_the_extreme_of_two_is_the_winners(func):
    extreme = Calls(lambda m, x: func(x, m.held), held=HELD).double()
    found = closes(extreme, random(*SHAPE))
    assert found.ledger.sources["held"].all()
