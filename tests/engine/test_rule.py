"""Custom rules: what a `LeafRule` and a `ScopeRule` may be given, and may do."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_hooks import (
    LeafRule,
    RuleError,
    ScopeRule,
    UnruledError,
    UnruledWarning,
    instrument,
    register,
    slope,
)
from lrp_hooks.engine.notes import watch_source
from strategies import noise


class ScaledTanh(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(2 / 3 * x)


class ScaledTanhRule(LeafRule):
    """R_in = R_out."""

    def relevance(self, module, x, y, grad):
        return grad * slope(x, y)


class Times(LeafRule):
    def __init__(self, factor=1.0):
        self.factor = factor

    def relevance(self, module, x, y, grad):
        self.seen = x.detach(), y.detach(), grad.detach()
        return grad * self.factor


def explain(model, x, target=0, **options):
    with instrument(model, **options) as lrp:
        return lrp.attribute(x, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("zero", [False, True])
def test_the_readme_rule_passes_relevance_unchanged(dtype, zero):
    register(ScaledTanh)(ScaledTanhRule)
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), ScaledTanh(), nn.Linear(8, 2)).to(dtype)
    x = noise(2, 3, dtype=dtype)
    if zero:
        x[0] = 0
        nn.init.zeros_(model[0].bias)
    with instrument(model, strict=True) as lrp:
        found = lrp.attribute(x, 1, layers=["0", "1"])
    assert found.values.isfinite().all()
    limit = {torch.float64: 1e-10, torch.float32: 1e-5}.get(dtype, 0.05)
    assert (found.ledger.error <= limit).all()
    loose = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {}
    assert_close(found.layers["0"], found.layers["1"], **loose)


def test_the_rule_sees_the_forward_and_gives_the_gradient():
    torch.default_generator.manual_seed(0)
    rule, x = Times(5.0), noise(2, 3)
    model = nn.Sequential(ScaledTanh(), nn.Linear(3, 2, bias=False)).double()
    found = explain(model, x, 1, overrides={ScaledTanh: rule})
    assert torch.equal(rule.seen[0], x)
    assert torch.equal(rule.seen[1], model[0](x))
    weight = model[1].weight[1].detach().expand(2, 3)
    assert_close(rule.seen[2], weight)
    assert_close(found.values, 5.0 * x * weight)


def test_what_a_rule_keeps_is_a_source():
    class Keeping(LeafRule):
        def relevance(self, module, x, y, grad):
            self.source("bias", grad * module.bias)
            self.source("half", (grad * (y - module.bias)).sum(-1) / 2)
            return grad @ module.weight / 2

    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    found = explain(model, noise(2, 3), overrides={"0": Keeping})
    assert (found.ledger.error < 1e-10).all()
    sources = found.ledger.sources
    assert_close(sources["0.half"], found.ledger.inputs)
    expected = (model[1].weight[0] * model[0].bias).sum().detach()
    assert_close(sources["0.bias"], expected.expand(2))
    # Elsewhere a source is nobody's and is dropped.
    leaf = noise(2, 3).requires_grad_()
    with instrument(model, overrides={"0": Keeping}):
        torch.autograd.grad(model(leaf).sum(), leaf)


@pytest.mark.parametrize("wrong", [None, 3.0, torch.ones(3), torch.ones(2, 2)])
def test_a_gradient_of_another_shape_is_refused(wrong):
    class Wrong(LeafRule):
        def relevance(self, module, x, y, grad):
            return wrong

    model = nn.Sequential(ScaledTanh(), nn.Linear(3, 2)).double()
    with instrument(model, overrides={ScaledTanh: Wrong}) as lrp:
        message = r"Wrong\.relevance returned.*ScaledTanh.*\(2, 3\)"
        with pytest.raises(RuleError, match=message):
            lrp.attribute(noise(2, 3))


def test_a_rule_without_relevance():
    class Empty(LeafRule):
        pass

    model = nn.Sequential(ScaledTanh(), nn.Linear(3, 2)).double()
    with instrument(model, overrides={ScaledTanh: Empty}) as lrp:
        with pytest.raises(NotImplementedError, match=r"Empty must define relevance"):
            lrp.attribute(noise(2, 3))


def test_a_leaf_that_overwrites_its_input_is_refused():
    class Overwriting(nn.Module):
        def forward(self, x):
            return x.tanh_()

    model = nn.Sequential(nn.Linear(3, 3), Overwriting()).double()
    with instrument(model, overrides={Overwriting: Times}) as lrp:
        with pytest.raises(RuleError, match="1 overwrites its input"):
            lrp.attribute(noise(2, 3))


class Many(nn.Module):
    """Several arguments and outputs, of which the first tensors count."""

    def forward(self, skip, x, scale=2.0, *, other=None):
        return (None, {"out": x * scale, "x": x}) if other is None else (x * scale, x)


class Caller(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.many, self.how = Many(), how

    def forward(self, x):
        if self.how == "positional":
            return self.many(None, x, 3.0)[1]["out"]
        if self.how == "keywords":
            return self.many(skip="a", scale=3.0, x=x)[1]["out"]
        return self.many(skip=x.shape, x=x, scale=3.0, other=x)[0]


@pytest.mark.parametrize("how", ["positional", "keywords", "tuple"])
@pytest.mark.parametrize("zero", [False, True])
def test_arguments_and_outputs_of_any_form(how, zero):
    x = noise(2, 3) * (not zero)
    found = explain(Caller(how), x, overrides={Many: ScaledTanhRule})
    assert_close(found.values[:, 0], 3 * x[:, 0])
    with instrument(Caller(how), overrides={Many: Times(10.0)}):
        leaf = x.clone().requires_grad_()
        model = Caller(how)
    with instrument(model, overrides={Many: Times(10.0)}):
        gradient = torch.autograd.grad(model(leaf).sum(), leaf)[0]
    assert_close(gradient, torch.full_like(x, 10.0))


def test_a_leaf_is_a_leaf_though_it_has_parts():
    inner = nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1), nn.Linear(3, 3))
    model = nn.Sequential(inner, nn.Linear(3, 2, bias=False)).double()
    x = noise(2, 3)
    with pytest.warns(UnruledWarning, match="the ledger does not close") as told:
        found = explain(model, x, overrides={inner: Times(1.0)})
    assert len(told) == 1  # nothing of the parts
    with pytest.raises(UnruledError, match="the ledger does not close"):
        explain(model, x, overrides={inner: Times(1.0)}, strict=True)
    assert_close(found.values, x * model[1].weight[0].detach())
    assert not found.ledger.sources


def scaled(factor):
    def replacement(func, x, *args, **kwargs):
        out = func(x.detach(), *args, **kwargs)
        return out + factor * (x - x.detach())

    return replacement


class Sine(ScopeRule):
    def __init__(self, factor):
        self.factor = factor

    def functions(self, module):
        return {torch.sin: scaled(self.factor)}


class Wave(nn.Module):
    """Calls a function before, inside and after its part."""

    def __init__(self, part=None):
        super().__init__()
        self.part = part if part is not None else nn.Identity()
        self.spare = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.sin(self.part(torch.sin(x)))


@pytest.mark.parametrize(
    ("outer", "inner", "expected"), [(2, 3, 36), (2, None, 16), (None, 3, None)]
)
def test_the_innermost_table_wins(outer, inner, expected):
    model = Wave(Wave())
    overrides = {}
    if outer is not None:
        overrides[model] = Sine(outer)
    if inner is not None:
        overrides[model.part] = Sine(inner)
    leaf = noise(2, 3).requires_grad_()
    with instrument(model, overrides=overrides):
        (found,) = torch.autograd.grad(model(leaf).sum(), leaf)
    if expected is None:  # around it the rule set's own rule holds
        x = leaf.detach()
        first, middle = x.sin(), x.sin() + 0.0
        last = middle.sin().sin()
        expected = first / x * inner * inner * last.sin() / last
    assert_close(found, torch.zeros_like(leaf) + expected)


def test_a_replacement_gets_function_and_arguments_and_may_report():
    seen = []

    class Watching(ScopeRule):
        def functions(self, module):
            return {torch.add: self.add}

        @staticmethod
        def add(func, a, b, *, alpha=1):
            seen.append((func, alpha))
            out = func(a, b, alpha=alpha)
            watch_source(out, torch.ones(3).double() * alpha, "mine")
            return out

    class Adding(nn.Module):
        def forward(self, x):
            return torch.add(x, torch.ones(3).double(), alpha=2)

    model = nn.Sequential(Adding(), nn.Linear(3, 2, bias=False)).double()
    found = explain(model, noise(2, 3), overrides={Adding: Watching})
    assert seen[0] == (torch.add, 2)
    assert (found.ledger.error < 1e-10).all()
    assert list(found.ledger.sources) == ["0.mine"]


def test_one_rule_object_serves_many_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.once, self.again = ScaledTanh(), ScaledTanh()

        def forward(self, x):
            return self.once(self.again(self.once(x)))

    x = noise(2, 3)
    found = explain(Net(), x, overrides={ScaledTanh: ScaledTanhRule()})
    assert_close(found.values[:, 0], found.output)
    assert (found.values[:, 1:] == 0).all()
