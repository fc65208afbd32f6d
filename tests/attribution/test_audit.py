"""The audit: no leak where all is ruled, and the leaking module first where not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lrp_hooks import LeafRule, UnruledWarning, instrument, register
from small_models import MODELS, make
from strategies import WIDTH, Spec, build, noise, seeds, specs, tokens

TOLERANCE = 1e-9
COMPLETE = ("conservative", "cp-lrp", "attnlrp")
plain = specs(bias=st.just(False), class_token=st.just(False)).map(lambda spec: spec)
# In-place additions to a part's output have a test of their own below.
covered = specs().map(lambda spec: spec)
batches, lengths = st.integers(1, 3), st.integers(1, 5)


def audit(model, inputs, rules="conservative", target=1):
    with instrument(model, rules) as lrp:
        return lrp.audit(inputs, target)


def padded(batch, length, seed=0, left=False):
    kept = [1 + (seed + i) % length for i in range(batch)]
    mask = torch.tensor([[1] * n + [0] * (length - n) for n in kept])
    mask = mask.flip(1) if left else mask
    return {"input_ids": tokens(batch, length, seed), "attention_mask": mask}


def scalar(output):
    """Explain the second number of each example."""
    return getattr(output, "logits", output).flatten(1)[:, 1]


def size(audit):
    """Return the largest number of the report, what a leak is compared with."""
    terms = [audit.ledger.output, audit.ledger.inputs, *audit.ledger.sources.values()]
    columns = [max(abs(r.leaving), abs(r.entering), abs(r.bias)) for r in audit.rows]
    return max(*columns, sum(float(t.double().abs().sum()) for t in terms))


def assert_tight(found):
    scale = TOLERANCE * size(found)
    for row in found.rows:
        assert abs(row.leak) <= scale, row
        assert abs(row.leaving - row.entering - row.bias) <= scale, row


def by_name(found):
    rows = {row.module: row for row in found.rows}
    assert len(rows) == len(found.rows)
    return rows


@given(covered, seeds, batches, lengths, st.sampled_from(COMPLETE))
def test_what_is_covered_does_not_leak(spec, seed, batch, length, rules):
    found = audit(build(spec, seed), tokens(batch, length, seed), rules)
    assert_tight(found)
    assert [abs(row.leak) for row in found.rows] == sorted(
        (abs(row.leak) for row in found.rows), reverse=True
    )


@given(plain, seeds, batches, lengths)
def test_without_biases_every_module_hands_on_what_it_got(spec, seed, batch, length):
    found = audit(build(spec, seed), tokens(batch, length, seed))
    assert_tight(found)
    assert all(row.bias == 0 for row in found.rows)
    output = float(found.ledger.output.sum())
    assert by_name(found)[""].leaving == pytest.approx(output)
    for i in range(len(spec.parts)):
        row = by_name(found)[f"blocks.{i}"]
        assert row.leaving == pytest.approx(output, abs=TOLERANCE * size(found))


@given(covered, seeds, batches, lengths, st.booleans())
def test_padded_batches_do_not_leak(spec, seed, batch, length, left):
    inputs = padded(batch, length, seed, left)
    found = audit(build(spec, seed), inputs)
    assert_tight(found)
    singles = [
        audit(build(spec, seed), {k: v[i : i + 1] for k, v in inputs.items()})
        for i in range(batch)
    ]
    for name, row in by_name(found).items():
        for column in ("leaving", "entering", "bias"):
            alone = sum(getattr(by_name(single)[name], column) for single in singles)
            assert abs(getattr(row, column) - alone) <= TOLERANCE * size(found), name


@given(covered, seeds, batches, lengths)
def test_bias_shares_are_the_ledgers(spec, seed, batch, length):
    found = audit(build(spec, seed), tokens(batch, length, seed))
    sources = found.ledger.sources
    total = sum(float(terms.sum()) for terms in sources.values())
    assert by_name(found)[""].bias == pytest.approx(total, abs=TOLERANCE * size(found))
    for name, row in by_name(found).items():
        own = [float(sources[s].sum()) for s in sources if s == f"{name}.bias"]
        if own and next(build(spec, seed).get_submodule(name).children(), None) is None:
            assert row.bias == pytest.approx(own[0], abs=TOLERANCE * size(found))


class Cube(torch.autograd.Function):
    """A backward of its own, which no scope can see into."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x + x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (1 + 3 * x**2)


class Leak(nn.Module):
    """A part, and something on top that no rule knows."""

    def __init__(self, inner, function):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, *args, **kwargs):
        out = self.inner(*args, **kwargs)
        if isinstance(out, tuple):
            return (self.function(out[0]), *out[1:])
        return self.function(out)


LEAKS = {
    "custom": Cube.apply,
    "i0": torch.special.i0,
    "erfcx": lambda x: torch.special.erfcx(0.1 * x),
}


def places(model):
    """List the modules that can be wrapped: torch's attention reads its own parts."""
    for name, module in model.named_modules():
        inside = name == "head" or name.startswith("blocks.")
        own = isinstance(module, nn.MultiheadAttention) or name.endswith("out_proj")
        if inside and not own:
            yield name


@given(covered, seeds, st.sampled_from(sorted(LEAKS)), st.data())
def test_a_planted_leak_is_the_first_row(spec, seed, kind, data):
    model = build(spec, seed)
    name = data.draw(st.sampled_from(list(places(model))))
    plant(model, name, LEAKS[kind])
    with pytest.warns(UnruledWarning):
        found = audit(model, tokens(2, 4, seed))
    assert found.rows[0].module == name
    assert found.rows[0].kind == "Leak"
    assert all(abs(row.leak) <= TOLERANCE * size(found) for row in found.rows[1:])
    assert found.unruled


def plant(model, name, function):
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, child, Leak(getattr(owner, child), function))


def test_a_rule_mends_the_leak():
    model = build()
    plant(model, "blocks.1.inner", torch.special.i0)

    @register(Leak)
    class LeakRule(LeafRule):
        def relevance(self, module, x, y, grad):
            return grad * (y / x)

    found = audit(model, tokens(2, 4))
    assert_tight(found)
    assert not found.unruled
    assert "LeakRule" in by_name(found)["blocks.1.inner"].rule


class Odd(nn.Module):
    """Calls one part three times, which returns nested containers."""

    def __init__(self):
        super().__init__()
        self.part = Nested()
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        (first, _), second = self.part(x, scale={"by": 0.5})["pair"]
        (third, _), fourth = self.part(first, scale={"by": 2.0})["pair"]
        return self.head(third + fourth - second + self.part(x)["pair"][1])


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, scale=None):
        made = F.gelu(self.map(x)) * (scale or {"by": 1.0})["by"]
        return {"pair": ((made, None), [x, made][1] + x), "count": 3}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp"])
def test_reused_modules_and_nested_outputs(batch, rules):
    torch.default_generator.manual_seed(batch)
    found = audit(Odd().double(), noise(batch, WIDTH), rules)
    assert_tight(found)
    rows = by_name(found)
    bias = float(found.ledger.sources["part.map.bias"].sum())
    assert rows["part.map"].bias == pytest.approx(bias)
    assert rows["part"].bias == pytest.approx(bias)
    assert abs(bias) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_every_make_of_model(name):
    assert_tight(audit(*make(name, torch.float64), target=scalar))


def test_an_output_that_is_overwritten_later():
    assert_tight(audit(build(Spec(overwrite=True)), tokens(2, 4)))


def state(model):
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [
        (
            name,
            list(vars(module)),
            module.training,
            [len(vars(module)[h]) for h in hooks],
        )
        for name, module in model.named_modules()
    ] + [(p.requires_grad, p.grad) for p in model.parameters()]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["grammar", "encoder inside", "bert sdpa"])
def test_the_model_is_left_alone(name, training):
    model, inputs = make(name, torch.float64)
    model.train(training)
    next(model.parameters()).requires_grad_(False)
    before, weights = (
        state(model),
        {k: v.clone() for k, v in model.state_dict().items()},
    )
    plain = explained(model.eval(), inputs)
    model.train(training)
    with instrument(model) as lrp:
        inside = state(model)
        first = lrp.attribute(inputs, scalar)
        lrp.audit(inputs, scalar)
        with pytest.raises(ZeroDivisionError):
            lrp.audit(inputs, lambda output: 1 / 0)
        with torch.no_grad():
            lrp.audit(inputs, scalar)
        assert state(model) == inside
        assert torch.equal(lrp.attribute(inputs, scalar).values, first.values)
    assert state(model) == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert torch.equal(explained(model.eval(), inputs), plain)


def explained(model, inputs):
    with torch.no_grad():
        return scalar(model(**inputs))


def test_a_report_can_be_read():
    with pytest.warns(UnruledWarning):
        model = build()
        plant(model, "head", torch.special.i0)
        lines = repr(audit(model, tokens(2, 4))).splitlines()
    head = ["module", "type", "leaving", "entering", "bias", "leak", "rule"]
    assert lines[0].split() == head
    assert lines[1].split()[:2] == ["head", "Leak"]
    assert "no rule: special_i0 called by head" in lines
    assert sum(line.startswith("Ledger of") for line in lines) == 1
