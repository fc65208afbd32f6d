"""Scores that would mislead are never silent: leaking targets and cut graphs."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_hooks import Contrast, UnruledError, UnruledWarning, instrument
from small_models import hugging_face, make
from strategies import build, noise, tokens

IDS = tokens(2, 3)
BENT = {
    "softmax": lambda out: out.softmax(-1)[:, 1],
    "logsumexp": lambda out: out.logsumexp(-1),
    "a constant": lambda out: out[:, 1] - 0.5,
    "a square": lambda out: out[:, 1] ** 2,
    "half cut": lambda out: out[:, 1] - out[:, 0].detach(),
}
LINEAR = {
    "a logit": lambda out: out[:, 1],
    "a difference": lambda out: 3 * (out[:, 1] - out[:, 0]),
    "a mean": lambda out: out.mean(1),
    "in place": lambda out: out.mul_(2)[:, 1],
}
CONTRACTS = ("conservative", "cp-lrp", "attnlrp")


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_target_that_leaks_is_named(name, batch):
    with instrument(build()) as lrp:
        with pytest.warns(UnruledWarning, match="target=.*lambda.*Contrast") as caught:
            found = lrp.attribute(IDS[:batch], target=BENT[name])
    assert len(caught) == 1
    gap = found.ledger.output - found.ledger.total
    row = int(gap.abs().argmax())
    assert f"{float(gap[row]):+.4g} of the {float(found.output[row]):+.4g}" in str(
        caught[0].message
    )
    with instrument(build(), strict=True) as lrp:
        with pytest.raises(UnruledError, match=r"not linear.*Contrast\(a, b\)"):
            lrp.attribute(IDS, target=BENT[name])


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_linear_target_passes_strictly(name, dtype):
    model = build(dtype=dtype)
    with instrument(model, strict=True) as lrp:
        found = lrp.attribute(IDS, target=LINEAR[name])
    assert_close(found.output, LINEAR[name](model(IDS)).detach())
    assert "(target)" not in {*found.ledger.sources, *found.ledger.positions}


def test_a_function_and_a_class_agree():
    with instrument(build()) as lrp:
        one = lrp.attribute(IDS, target=Contrast(1, 0))
        other = lrp.attribute(IDS, target=lambda out: out[:, 1] - out[:, 0])
    assert torch.equal(one.values, other.values)
    for name, terms in one.ledger.sources.items():
        assert_close(other.ledger.sources[name], terms)


@pytest.mark.parametrize("rules", ["gradient", "ah", "ln", "ah+ln"])
def test_where_the_ledger_is_open_a_target_may_bend(rules):
    with warnings.catch_warnings(), instrument(build(), rules) as lrp:
        warnings.simplefilter("error")
        lrp.attribute(IDS, target=BENT["softmax"])


@pytest.mark.parametrize("rules", CONTRACTS)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_only_what_the_target_uses_counts(family, rules):
    model = hugging_face(family, torch.float64)
    inputs = {"input_ids": IDS, "output_hidden_states": True}

    def read(out):
        return out.logits.flatten(1)[:, 0] + out.hidden_states[1].sum((1, 2))

    with instrument(model, rules, strict=True) as lrp:
        assert (lrp.attribute(inputs, target=read).ledger.error < 1e-5).all()
        with pytest.raises(UnruledError, match="target=.*not linear"):
            lrp.attribute(inputs, target=lambda out: read(out).exp())


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids):
        return SimpleNamespace(logits=self.inner(ids), seen=1)


def test_outputs_that_are_objects():
    with instrument(Wrapped(build()), strict=True) as lrp:
        lrp.attribute(IDS, target=lambda out: out.logits[:, 0] * out.seen)
        with pytest.raises(UnruledError, match="not linear"):
            lrp.attribute(IDS, target=lambda out: out.logits[:, 0] ** 2)


def test_an_output_that_the_model_keeps_is_left_as_it_was():
    model, kept = Wrapped(build()), []

    def keep(module, args, output):
        kept.append((output, output.logits))

    with instrument(model) as lrp:
        handle = model.register_forward_hook(keep)
        lrp.attribute(IDS, target=lambda out: out.logits[:, 0])
        handle.remove()
    assert kept
    assert all(output.logits is logits for output, logits in kept)


def test_the_audit_has_a_row_for_the_target():
    with instrument(build()) as lrp:
        plain = lrp.audit(IDS, target=1)
        linear = lrp.audit(IDS, target=LINEAR["a logit"])
        with pytest.warns(UnruledWarning):
            bent = lrp.audit(IDS, target=BENT["softmax"])
    assert "(target)" not in {row.module for row in plain.rows}
    (row,) = [row for row in linear.rows if row.module == "(target)"]
    assert abs(row.leak) < 1e-10
    assert bent.rows[0].module == "(target)"
    gap = (bent.ledger.output - bent.ledger.total).sum()
    assert bent.rows[0].leak == pytest.approx(float(gap))
    assert "(target)" in repr(bent)


class Cut(nn.Module):
    """A model that hands on less than it seems to."""

    def __init__(self, cut):
        super().__init__()
        self.first, self.last, self.cut = nn.Linear(4, 4), nn.Linear(4, 2), cut

    def forward(self, x):
        return self.last(self.cut(self.first(x)))


@torch.no_grad()
def without_grad(x):
    return 2 * x


CUTS = {
    "detach": torch.Tensor.detach,
    "no_grad": without_grad,
    "argmax": lambda x: nn.functional.one_hot(x.argmax(1), 4).float(),
}
EMPTY_TARGETS = {
    "detach": lambda out: out.detach()[:, 0],
    "constant": lambda out: torch.ones(2),
    "parameter": lambda out: nn.Parameter(torch.ones(2)),
}


@pytest.mark.parametrize("rules", ["conservative", "gradient"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_model_that_cuts_the_graph(cut, rules):
    model = Cut(CUTS[cut])
    assert_complains(model, noise(2, 4, dtype=torch.float32), 1, "'x'", rules)


@pytest.mark.parametrize("target", EMPTY_TARGETS)
def test_a_target_that_cuts_the_graph(target):
    model, inputs = make("grammar")
    name = next(n for n, m in model.named_modules() if isinstance(m, nn.Embedding))
    assert_complains(model, inputs, EMPTY_TARGETS[target], f"'{name}'")


def assert_complains(model, inputs, target, name, rules="conservative"):
    message = rf"no gradient reaches {name}.*detach\(\).*wrt="
    with instrument(model, rules) as lrp:
        with pytest.warns(UnruledWarning, match=message) as caught:
            found = lrp.attribute(inputs, target=target)
        assert len(caught) == 1
        assert (found.scores == 0).all()
    with instrument(model, rules, strict=True) as lrp:
        with pytest.raises(UnruledError, match=message):
            lrp.attribute(inputs, target=target)


class Gated(nn.Module):
    """Takes from its input nothing but the gate of a constant."""

    def __init__(self):
        super().__init__()
        self.gate, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("held", torch.linspace(-1, 1, 4))

    def forward(self, x):
        return self.head(self.gate(x).sigmoid() * self.held)


@pytest.mark.parametrize("trainable", [True, False])
def test_what_the_rules_freeze_is_no_cut(trainable):
    x = noise(2, 4, dtype=torch.float32)
    model = Gated().requires_grad_(trainable)
    with instrument(model, strict=True) as lrp:
        found = lrp.attribute(x, target=0)
        assert (lrp.attribute(x, target=0, wrt="gate").scores == 0).all()
        audit = lrp.audit(x, target=0)
    assert (found.scores == 0).all()
    assert max(abs(row.entering) for row in audit.rows) == 0


def test_an_input_that_is_not_used_is_no_cut():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 2)

        def forward(self, a, b):
            return self.map(a)

    x = noise(2, 4, dtype=torch.float32)
    with instrument(First(), strict=True) as lrp:
        found = lrp.attribute((x, 2 * x), target=0)
    assert (found.scores["b"] == 0).all()
    assert (found.scores["a"] != 0).any()


def test_what_a_target_captured_elsewhere_cannot_be_judged():
    model, seen = build(), []
    model.blocks[0].register_forward_hook(lambda *a: seen.append(a[-1]))
    with warnings.catch_warnings(), instrument(model) as lrp:
        warnings.simplefilter("error")
        lrp.attribute(IDS, target=lambda out: seen[-1].sum((1, 2)))


def test_rules_that_let_nothing_through_are_told():
    class Shares(torch.nn.Module):
        """Shares of similarities, by exp() and a sum."""

        def forward(self, x, y):
            share = torch.exp(x @ y.T)
            return {"shares": share / share.sum(0, keepdim=True)}

    x, y = torch.randn(2, 2, 4, dtype=torch.float64)
    with instrument(Shares()) as lrp:
        with pytest.warns(UnruledWarning, match="freeze every path"):
            found = lrp.attribute(
                {"x": x, "y": y}, lambda out: out["shares"].diagonal() * 2
            )
    assert all((part == 0).all() for part in found.scores.values())
