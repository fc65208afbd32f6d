"""What is overwritten is overwritten in the graph, as if it were written out of place.

The oracle of every program of in-place statements is the same program written with
functions that return something new.
"""

import warnings

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lrp_hooks import ScopeRule, UnruledError, UnruledWarning, instrument
from lrp_hooks.engine import constancy, kept, splice
from oracles import random

SHAPE = (2, 4, 6)


class Around(nn.Module):
    """Linear -> function(y, z) -> Linear, with two signals of one input.

    All is of one example, since what is written may come from anywhere.
    """

    def __init__(self, function):
        super().__init__()
        torch.default_generator.manual_seed(1)
        self.first, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.last, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.function = function
        self.double().eval()

    def forward(self, x):
        x = x.reshape(SHAPE)
        y = self.function(self.first(x) * 1, self.other(x))
        return self.head(self.last(y).mean((0, 1)))[None]


def explained(function, strict=True):
    """Explain, and check that outputs are the same bits and that the ledger closes."""
    model = Around(function)
    x = random(*SHAPE).flatten(0, 1)[None]
    with torch.no_grad():
        plain = model(x)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no gradient reaches")
        with instrument(model, strict=False) as lrp:
            found = lrp.attribute(x, 1)
            assert torch.equal(found.output, plain[:, 1])
            assert torch.equal(model(x), plain)
        assert not (strict and lrp.coverage.unruled), lrp.coverage.unruled
    assert float(found.ledger.error.max()) < 1e-10
    return found


def same(written, new):
    """Two spellings of one function have the same scores."""
    one, other = explained(written), explained(new)
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-10, atol=1e-12)


REGIONS = {
    "all": lambda y: y,
    "all, as a view": lambda y: y.view(-1),
    "all, turned": lambda y: y.transpose(0, 2),
    "row": lambda y: y[:, 1],
    "rows": lambda y: y[:, :2],
    "select": lambda y: y.select(1, 0),
    "every other": lambda y: y[..., ::2],
    "view of a view": lambda y: y.view(2, -1)[:, 3:9],
    "turned": lambda y: y.transpose(1, 2)[:, 1:4],
    "deep": lambda y: y[1][2:][:, 1:],
    "narrow": lambda y: y.narrow(2, 2, 3).unsqueeze(0),
}


def signal(z, like):
    return z.reshape(-1)[: like.numel()].view(like.shape)


def constant(like):
    return torch.linspace(-1.1, 0.9, like.numel(), dtype=like.dtype).view(like.shape)


def both(name, *arguments):
    """The pair ``y.name_(...)``, ``y.name(...)``."""

    def take(z, y):
        made = {"z": lambda: signal(z, y), "c": lambda: constant(y)}
        return [made[a]() if isinstance(a, str) and a in made else a for a in arguments]

    return (
        lambda y, z: getattr(y, f"{name}_")(*take(z, y)),
        lambda y, z: getattr(y, name)(*take(z, y)),
    )


def hide(y):
    return constant(y) > 0


def fill(y, value):
    y[...] = value


STATEMENTS = {
    **{
        f"{name}_": both(name)
        for name in """
            sigmoid exp cos tanh relu sin sinh square abs neg erf expm1 sign round
        """.split()
    },
    "clamp_": both("clamp", -0.3, 0.5),
    "clamp_ above 0": both("clamp", 0.1, 2.0),
    "pow_": both("pow", 2),
    "pow_ 3": both("pow", 3),
    "mul_": both("mul", "z"),
    "mul_ by a constant": both("mul", "c"),
    "mul_ by a number": both("mul", -0.7),
    "div_": both("div", 0.7),
    "add_": both("add", "z"),
    "add_ a constant": both("add", "c"),
    "add_ a number": both("add", 0.3),
    "sub_": both("sub", "z"),
    "sub_ a constant": both("sub", "c"),
    "addcmul_": both("addcmul", "z", "c"),
    "cumsum_": both("cumsum", -1),
    "cumprod_": both("cumprod", -1),
    "nan_to_num_": both("nan_to_num"),
    "masked_fill_": (
        lambda y, z: y.masked_fill_(hide(y), 0.4),
        lambda y, z: y.masked_fill(hide(y), 0.4),
    ),
    "copy_": (lambda y, z: y.copy_(signal(z, y)), lambda y, z: signal(z, y) * 1),
    "copy_ a constant": (lambda y, z: y.copy_(constant(y)), lambda y, z: constant(y)),
    "zero_": (lambda y, z: y.zero_(), lambda y, z: torch.zeros_like(constant(y))),
    "fill_": (lambda y, z: y.fill_(0.6), lambda y, z: torch.full_like(y, 0.6)),
    "[...] = constant": (
        lambda y, z: fill(y, constant(y)),
        lambda y, z: constant(y),
    ),
    "[...] = signal": (
        lambda y, z: fill(y, signal(z, y)),
        lambda y, z: signal(z, y) * 1,
    ),
    "hardsigmoid": (
        lambda y, z: F.hardsigmoid(y, inplace=True),
        lambda y, z: F.hardsigmoid(y),
    ),
    "threshold": (
        lambda y, z: F.threshold(y, 0.1, 0.9, inplace=True),
        lambda y, z: F.threshold(y, 0.1, 0.9),
    ),
    "silu": (lambda y, z: F.silu(y, inplace=True), lambda y, z: F.silu(y)),
    "by itself": (lambda y, z: y.mul_(y), lambda y, z: y * y),
    "index_fill_": (
        lambda y, z: y.index_fill_(0, torch.tensor([0]), 0.2),
        lambda y, z: y.index_fill(0, torch.tensor([0]), 0.2),
    ),
}


def put(y, region, new):
    """Put new values in the place of a region of y, out of place."""
    places = REGIONS[region](torch.arange(y.numel()).view(y.shape))
    flat = places.reshape(-1)
    if places.numel() == y.numel():
        return new.reshape(-1)[flat.argsort()].view(y.shape)
    return y.reshape(-1).index_copy(0, flat, new.reshape(-1)).view(y.shape)


def in_place(program):
    def run(y, z):
        early = y[:, 1:3]
        for region, name in program:
            STATEMENTS[name][0](REGIONS[region](y), z)
        return y * z + torch.cat([early, y[:, :2]], 1)

    return run


def out_of_place(program):
    def run(y, z):
        for region, name in program:
            y = put(y, region, STATEMENTS[name][1](REGIONS[region](y), z))
        return y * z + torch.cat([y[:, 1:3], y[:, :2]], 1)

    return run


statements = st.tuples(st.sampled_from(list(REGIONS)), st.sampled_from([*STATEMENTS]))


@given(st.lists(statements, min_size=1, max_size=4))
def test_programs_equal_those_that_return_something_new(program):
    value = in_place(program)(random(*SHAPE), random(*SHAPE))
    assume(bool(value.abs().max() < 1e3))
    same(in_place(program), out_of_place(program))


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("region", ["all", "row", "all, as a view"])
def test_statements(name, region):
    program = [(region, name)]
    same(in_place(program), out_of_place(program))


IN_FLOAT32 = [name for name in STATEMENTS if name != "by itself"]


@pytest.mark.parametrize("region", ["every other", "view of a view", "turned"])
@pytest.mark.parametrize("name", IN_FLOAT32)
def test_float32_keeps_its_bits(name, region):
    model = Around(in_place([(region, name)])).float()
    x = random(*SHAPE).float()
    with torch.no_grad():
        plain = model(x)
    with instrument(model):
        assert torch.equal(model(x), plain)
        assert torch.equal(model(x.requires_grad_()), plain)


def attend(y, z):
    s = y @ z.mT
    s.exp_()
    return (s / s.sum(-1, keepdim=True)) @ z


def test_attention_normalised_by_hand():
    def new(y, z):
        s = (y @ z.mT).exp()
        return (s / s.sum(-1, keepdim=True)) @ z

    same(attend, new)


def test_a_loop_over_one_buffer():
    def loop(y, z):
        y = y.clone()
        for t in range(1, 4):
            y[:, t] = torch.tanh(y[:, t - 1]) * 0.5 + y[:, t]
        return y

    def unrolled(y, z):
        rows = [y[:, 0]]
        for t in range(1, 4):
            rows.append(torch.tanh(rows[-1]) * 0.5 + y[:, t])
        return torch.stack(rows, 1)

    same(loop, unrolled)


def test_what_a_rule_kept_is_overwritten():
    def written(y, z):
        a = F.gelu(y)
        y.mul_(2)
        b = F.gelu(y)
        y.zero_()
        return a + b

    same(written, lambda y, z: F.gelu(y) + F.gelu(y * 2))


def test_constants_are_what_they_were_when_added():
    def written(y, z):
        shift = constant(y).clone()
        state = shift[:, :2]
        y = torch.cat([y + shift, state], 1)
        shift.mul_(3)
        y = torch.add(y, shift[:, :1])
        shift[:, :2] = z[:, :2]
        return y[:, :4] + state.repeat(1, 2, 1)

    def new(y, z):
        shift = constant(y)
        y = torch.cat([y + shift, shift[:, :2]], 1) + 3 * shift[:, :1]
        return y[:, :4] + z[:, :2].repeat(1, 2, 1)

    same(written, new)


def test_less_the_value_itself():
    def written(y, z):
        y.sub_(y.detach() * 1)
        z -= z.detach()
        return y + z

    explained(written)


OUTS = {
    "sigmoid": (torch.sigmoid, 1),
    "tanh": (torch.tanh, 1),
    "mul": (torch.mul, 2),
    "add": (torch.add, 2),
    "exp": (torch.exp, 1),
    "matmul": (lambda y, z, out=None: torch.matmul(y, z[0, :1].mT, out=out), 2),
}


@pytest.mark.parametrize("name", OUTS)
def test_out_arguments(name):
    function, n = OUTS[name]

    def written(y, z):
        out = torch.empty_like(function(*(y, z)[:n])).detach()
        function(*(y, z)[:n], out=out)
        part = torch.zeros(2, 6, dtype=y.dtype)
        torch.mul(y[:, 0], z[:, 1], out=part)
        return out * z + part[:, None]

    def new(y, z):
        return function(*(y, z)[:n]) * z + (y[:, 0] * z[:, 1])[:, None]

    same(written, new)


def test_constants_and_noise_written_to_given_tensors():
    def written(y, z):
        torch.mul(constant(y), 2, out=y)
        return y * z

    same(written, lambda y, z: constant(y) * 2 * z)
    model = Around(lambda y, z: y + torch.rand(6, out=torch.empty(6).to(y)))
    x = random(*SHAPE).flatten(0, 1)[None]
    torch.default_generator.manual_seed(0)
    plain = model(x)
    with instrument(model):
        torch.default_generator.manual_seed(0)
        assert torch.equal(model(x), plain)


def test_winners_and_places_written_to_given_tensors():
    def written(y, z):
        best, place = torch.empty(2, 6).to(y), torch.empty(2, 6, dtype=torch.long)
        torch.max(y, 1, out=(best, place))
        return y + best[:, None] + z.gather(1, place[:, None])

    def new(y, z):
        best, place = torch.max(y, 1)
        return y + best[:, None] + z.gather(1, place[:, None])

    same(written, new)


def by_data(y):
    y.data.mul_(2)


def by_a_view_of_data(y):
    y.data[:, 0] *= 2


def by_detach(y):
    y.view(2, -1).detach()[:, 3:].exp_()


def by_setting_data(y):
    y.data = y.data.clone().mul(2)


def without_grad(y):
    with torch.no_grad():
        y[:, 1].fill_(1.0)


def without_grad_by_item(y):
    with torch.no_grad():
        y[:, 1] = 0.5


def by_out(y):
    torch.mul(y.detach(), 2, out=y.detach())


UNSEEN = {
    by_data: "mul_",
    by_a_view_of_data: "mul_",
    by_detach: "exp_",
    by_setting_data: "__set__",
    without_grad: "fill_",
    without_grad_by_item: "__setitem__",
    by_out: "mul",
}


@pytest.mark.parametrize("write", UNSEEN, ids=lambda write: write.__name__)
def test_a_write_that_autograd_does_not_see_is_told(write):
    model = Around(lambda y, z: (write(y), y * z)[1])
    with instrument(model) as lrp:
        with pytest.warns(UnruledWarning, match=f"{UNSEEN[write]} on values that"):
            lrp.attribute(random(*SHAPE).flatten(0, 1)[None], 1)
    with instrument(model, strict=True) as lrp:
        with pytest.raises(UnruledError, match=UNSEEN[write]):
            lrp.attribute(random(*SHAPE).flatten(0, 1)[None], 1)


def clamped(y):
    with torch.no_grad():
        y.clamp_(-1e4, 1e4)


def read_only(y):
    assert y.data.mean().isfinite()
    y.detach().clone().mul_(2)
    y.detach().abs().add_(1)


def weights_changed(y):
    weight = nn.Parameter(torch.ones(3))
    weight.data.mul_(2)


HARMLESS = [clamped, read_only, weights_changed]


@pytest.mark.parametrize("write", HARMLESS, ids=lambda write: write.__name__)
def test_what_changes_nothing_recorded_is_no_alarm(write):
    explained(lambda y, z: (write(y), y * z)[1])


def test_a_parameter_normalised_through_its_data():
    class Normalised(nn.Linear):
        def forward(self, x):
            self.weight.data.div_(self.weight.data.norm())
            return super().forward(x)

    model = nn.Sequential(Normalised(6, 4), nn.Tanh()).double()
    with instrument(model, strict=True) as lrp:
        assert float(lrp.attribute(random(2, 6), 1).ledger.error.max()) < 1e-10


def test_nothing_outlives_the_call():
    explained(attend)
    assert not kept._memory.holders and not kept._memory.scopes
    model = Around(lambda y, z: y * z)
    with instrument(model):
        model(random(*SHAPE))
    assert not constancy.histories.dropped


def test_a_rule_of_ones_own_need_not_know_of_in_place_functions():
    called = []

    class Doubled(ScopeRule):
        def functions(self, module):
            return {torch.Tensor.sinh_: self.replacement, torch.sinh: self.replacement}

        def replacement(self, func, x):
            called.append(func.__name__)
            return splice(func(x.detach()), x, lambda grad: 2 * grad)

    def gradient(function):
        model = Around(function)
        x = random(*SHAPE).requires_grad_()
        with instrument(model, overrides={Around: Doubled()}):
            return torch.autograd.grad(model(x).sum(), x)[0]

    written = gradient(lambda y, z: (y[:, 1:].sinh_(), y)[1])
    new = gradient(lambda y, z: torch.cat([y[:, :1], torch.sinh(y[:, 1:])], 1))
    torch.testing.assert_close(written, new)
    assert set(called) == {"sinh"}
