"""Registration, lookup and rule sets."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from lrp_hooks.rules import Activation, Attention, Embedding, Gamma, Normalization
from torch import nn

from lrp_hooks import (
    ArgumentError,
    LeafRule,
    RegistrationError,
    RuleSet,
    ScopeRule,
    instrument,
    register,
)
from lrp_hooks.engine.registry import lookup
from lrp_hooks.engine.ruleset import FAMILIES
from strategies import RMSNorm, build

CONSERVATIVE = "conservative"


class Layer(nn.Module):
    """Not element-wise, so that nothing matches it by its looks."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(2, 2)

    def forward(self, x):
        return self.map(x)


class Child(Layer):
    pass


class One(LeafRule):
    def __init__(self, factor=1.0):
        self.factor = factor

    def relevance(self, module, x, y, grad):
        return grad * self.factor


class Two(ScopeRule):
    pass


def found(module, rules=CONSERVATIVE, overrides=None, name="a.b"):
    return lookup(name, module, RuleSet.named(rules), overrides or {})


def test_the_order_of_lookup():
    module, base = Child(), type("Base", (Layer,), {})
    assert found(module) is None
    register(f"{__name__}.Layer")(Two)
    assert isinstance(found(module).rule, Two)
    register(Layer)(type("ForBase", (One,), {}))
    assert type(found(module).rule).__name__ == "ForBase"
    assert "Layer" in found(module).why
    register(Child)(type("ForChild", (One,), {}))
    assert type(found(module).rule).__name__ == "ForChild"
    assert type(found(base()).rule).__name__ == "ForBase"
    overrides = {Layer: One(1)}
    for key, factor in [(Child, 2), ("a.*", 3), (module, 4)]:
        overrides = {**overrides, key: One(factor)}
        assert found(module, overrides=overrides).rule.factor == factor
        backwards = dict(reversed(overrides.items()))
        assert found(module, overrides=backwards).rule.factor == factor


@pytest.mark.parametrize(
    ("glob", "hits"),
    [
        ("blocks.0.norm", {"blocks.0.norm"}),
        ("blocks.*.norm", {f"blocks.{i}.norm" for i in range(7)}),
        ("*norm", {f"blocks.{i}.norm" for i in range(7)}),
        ("blocks.[01].norm", {"blocks.0.norm", "blocks.1.norm"}),
    ],
)
def test_globs_over_qualified_names(glob, hits):
    rule = Normalization()
    with instrument(build(), overrides={glob: rule}) as lrp:
        rows = {row.module for row in lrp.coverage.rows if glob in row.why}
    assert rows == hits


def test_an_override_holds_for_this_call_only():
    model, x = build(), torch.ones(1, 2, 8).double()
    with instrument(model) as lrp:
        before = lrp.attribute({"inputs_embeds": x}, 0)
    with instrument(model, overrides={nn.Linear: Gamma(0.5)}) as lrp:
        other = lrp.attribute({"inputs_embeds": x}, 0)
    with instrument(model) as lrp:
        after = lrp.attribute({"inputs_embeds": x}, 0)
    assert torch.equal(before.values, after.values)
    assert not torch.allclose(before.values, other.values)
    assert (other.ledger.error < 1e-10).all()


def test_what_a_module_looks_like():
    assert found(RMSNorm()).family == "normalization"

    class Wavy(nn.Module):
        def forward(self, x):
            return torch.sin(x)

    class Mixing(nn.Module):
        def forward(self, x):
            return x.cumsum(-1)

    assert found(Wavy()).family == "activation"
    assert found(Mixing()) is None


def test_register_keys():
    register(Layer, "some.package.Name")(One)
    assert isinstance(found(Layer()).rule, One)
    assert register(Child)(Two) is Two
    assert found(Layer(), "gradient") is None
    assert isinstance(found(Layer(), "ah").rule, One)


def test_register_a_family():
    register(Layer, family="normalization")
    for rules in RuleSet.names():
        match = found(Layer(), rules)
        assert match.family == "normalization"
        assert match.rule is RuleSet.named(rules).normalization
    with pytest.raises(RegistrationError, match="takes no rule.*One"):
        register(Child, family="activation")(One)


@pytest.mark.parametrize("key", [Layer, "some.package.Layer", nn.LayerNorm])
def test_a_duplicate_needs_overwrite(key):
    if key is not nn.LayerNorm:
        register(key)(One)
    with pytest.raises(RegistrationError, match="already.*overwrite=True"):
        register(key)(Two)
    with pytest.raises(RegistrationError, match="already.*overwrite=True"):
        register(key, family="linear")
    register(key, overwrite=True)(Two)
    if isinstance(key, type):
        module = key(2) if key is nn.LayerNorm else key()
        assert isinstance(found(module).rule, Two)
    register(key, family="linear", overwrite=True)


def test_a_refused_registration_registers_nothing():
    with pytest.raises(RegistrationError):
        register(Layer, nn.LayerNorm)(One)
    assert found(Layer()) is None
    with pytest.raises(RegistrationError):
        register(Layer)(object)
    assert found(Layer()) is None
    with pytest.raises(RegistrationError):
        register(Layer, family="norm")
    assert found(Layer()) is None


@pytest.mark.parametrize("key", [None, 3, dict, "Layer", "a b.C", "", nn.Linear(1, 1)])
def test_a_key_that_names_nothing(key):
    with pytest.raises(RegistrationError, match="nn.Module type.*package.module"):
        register(key)


def test_register_without_a_key_or_family():
    with pytest.raises(RegistrationError, match="@register"):
        register()
    with pytest.raises(RegistrationError, match="'norm'.*normalization"):
        register(Layer, family="norm")
    for rule in (object, 3, None, lambda x: x):
        with pytest.raises(RegistrationError, match="no rule"):
            register(Layer)(rule)


@pytest.mark.parametrize("name", RuleSet.names())
def test_rule_sets_are_immutable_and_print(name):
    rules = RuleSet.named(name)
    assert RuleSet.named(name) is rules
    with pytest.raises(FrozenInstanceError):
        rules.attention = Attention(0.2)
    lines = repr(rules).splitlines()
    assert name in lines[0]
    assert [line.split()[0] for line in lines[1:]] == list(FAMILIES)


def test_the_names_of_the_interface():
    expected = {"gradient", "ah", "ln", "ah+ln", CONSERVATIVE, "cp-lrp", "attnlrp"}
    assert set(RuleSet.names()) == expected


def test_override_derives_another_set():
    base = RuleSet.named(CONSERVATIVE)
    derived = base.override(
        attention=Attention(query_key_share=0.25), linear=Gamma(0.1)
    )
    assert derived.attention.query_key_share == 0.25
    assert repr(derived.linear) in repr(derived)
    assert derived.normalization is base.normalization
    assert base.attention.query_key_share == 0.0
    assert isinstance(base.override(embedding=Embedding).embedding, Embedding)
    with pytest.raises(ArgumentError, match="attenton.*attention"):
        base.override(attenton=Attention())
    with pytest.raises(ArgumentError, match="no rule"):
        base.override(attention=0.25)


def test_a_set_can_be_named():
    RuleSet.named(CONSERVATIVE).override(activation=Activation(False)).save_as("mine")
    with instrument(build(), "mine") as lrp:
        assert lrp.rules.name == "mine"
    with pytest.raises(RegistrationError, match="'mine' exists"):
        RuleSet.named("ah").save_as("mine")
    with pytest.raises(ArgumentError, match="'yours'.*'mine'"):
        RuleSet.named("yours")


def test_coverage_says_which_rule_and_why():
    model = build()
    module = model.blocks[0].norm
    with instrument(model, overrides={module: Normalization()}) as lrp:
        rows = {row.module: row for row in lrp.coverage.rows}
        text = repr(lrp)
    assert rows.keys() == dict(model.named_modules()).keys()
    assert "instance" in rows["blocks.0.norm"].why
    assert rows["head"].kind == "Linear"
    assert all(name in text for name in rows)
    assert {row.module for row in lrp.coverage.ruled} >= {"head", "blocks.0.norm"}


def test_a_leaf_rule_can_stand_for_a_whole_family():
    class Doubled(LeafRule):
        def relevance(self, module, x, y, grad):
            return 2 * grad

    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    rules = RuleSet.named("conservative").override(normalization=Doubled())
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    with instrument(model, rules, strict=True):
        (model(x) / 2).sum().backward()
    weights = model[2].weight @ torch.eye(4, dtype=torch.float64) @ model[0].weight
    torch.testing.assert_close(x.grad, weights.sum(0).expand(3, 4).detach())
