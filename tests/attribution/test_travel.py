"""Instrumentations and rule sets are copied and pickled as descriptions."""

import copy
import pickle

import pytest
import torch
from lrp_hooks.rules.linear import Gamma, Zero

from lrp_hooks import ArgumentError, RuleSet, instrument
from small_models import hugging_face
from travel import ids, scores

WAYS = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
}
ways = pytest.mark.parametrize("travel", WAYS.values(), ids=WAYS)


def attributes(model):
    return {name: set(vars(module)) for name, module in model.named_modules()}


@ways
@pytest.mark.parametrize("name", RuleSet.names())
def test_a_named_rule_set_stays_the_one_of_its_name(travel, name):
    assert travel(RuleSet.named(name)) is RuleSet.named(name)


@ways
def test_a_derived_rule_set_keeps_its_rules(travel):
    rules = RuleSet.named("cp-lrp").override(linear=Gamma(0.125))
    landed = travel(rules)
    assert repr(landed) == repr(rules)
    assert landed.linear.gamma == 0.125


@ways
def test_another_rule_set_under_a_known_name_is_not_that_one(travel):
    known = RuleSet.named("conservative")
    other = RuleSet(**{**vars(known), "linear": Gamma(0.5)})
    assert travel(other).linear.gamma == 0.5


@ways
def test_it_is_instrumented_where_it_lands(travel):
    model = hugging_face("bert", torch.float64)
    overrides = {model.classifier: Gamma(0.25), "bert.encoder*": Zero()}
    with instrument(model, "attnlrp", overrides=overrides) as lrp:
        right = scores(lrp, ids())
        with travel(lrp) as landed:
            assert landed.model is not model
            assert landed.coverage.rows == lrp.coverage.rows
            assert torch.equal(scores(landed, ids()), right)
        assert torch.equal(scores(lrp, ids()), right)


@ways
def test_removed_where_it_landed_the_model_is_plain(travel):
    model = hugging_face("bert", torch.float64)
    plain = attributes(model)
    with instrument(model) as lrp:
        landed = travel(lrp)
        copied = landed.model
        landed.remove()
    assert attributes(copied) == attributes(model) == plain


def test_a_model_and_its_instrumentation_stay_together():
    with instrument(hugging_face("bert", torch.float64)) as lrp:
        model, landed = copy.deepcopy((lrp.model, lrp))
    with landed:
        assert landed.model is model


@ways
def test_after_remove_there_is_nothing_to_copy(travel):
    lrp = instrument(hugging_face("bert"))
    lrp.remove()
    with pytest.raises(ArgumentError, match=r"after remove\(\)"):
        travel(lrp)
