"""Random nets: a ledger closes, or it is told why not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import lrp_hooks
from benchmarks.nets.grammar import GROUPS, Plan, Step, draw
from benchmarks.nets.run import cause, collected, judged, table
from benchmarks.nets.verdict import LIMIT, Verdict, judge
from lrp_hooks.engine import splice

plans = st.randoms(use_true_random=False).map(draw)


@settings(max_examples=300)
@given(plans)
def test_no_number_is_silent(plan):
    verdict = judge(plan)
    assert verdict.kind != "silent", verdict


@pytest.mark.parametrize("group", GROUPS)
def test_no_operation_is_silent_by_itself(group):
    for name in GROUPS[group]:
        operands = (0, 0) if group == "two" else (0,)
        verdict = judge(Plan((Step(group, name, operands),), "logits", 1))
        assert verdict.kind != "silent", (name, verdict)
        assert verdict.kind != "told" or _may_be_told(group, name), (name, verdict)


TOLD = {
    "batch statistics": "rows of the batch interact",
    "roll over examples": "rows of the batch interact",
    "behind autograd's back": "unseen by it",
    "under no_grad": "unseen by it",
}


def _may_be_told(group, name):
    return group == "opaque" or name in TOLD


@pytest.mark.parametrize("name", TOLD)
def test_what_must_be_told(name):
    (group,) = (group for group, names in GROUPS.items() if name in names)
    verdict = judge(Plan((Step(group, name, (0,)),), "logits", 1))
    assert verdict.kind == "told"
    assert TOLD[name] in verdict.said


def test_a_fault_is_found():
    def lossy(func, x):
        return splice(func(x.detach()), x, lambda grad: 0.9 * grad)

    class Lossy(lrp_hooks.ScopeRule):
        def functions(self, module):
            return dict.fromkeys([torch.tanh, Tensor.tanh], lossy)

    rules = lrp_hooks.RuleSet.named("conservative").override(activation=Lossy())
    plan = Plan((Step("unary", "tanh", (0,)),), "logits", 1)
    assert judge(plan).kind == "closed"
    found = judge(plan, rules)
    assert found.kind == "told"
    assert "the ledger does not close" in found.said
    assert found.error > LIMIT


def test_the_table_counts():
    verdicts = [
        (0, Verdict("closed", 1e-12)),
        (
            1,
            Verdict("told", 0.5, "without a rule, its own gradient: frac (in"),
        ),
        (2, Verdict("silent", 0.5, "the ledger does not close")),
    ]
    found = collected(verdicts)
    assert found["kinds"] == {"closed": 1, "told": 1, "silent": 1}
    assert found["said"] == {"frac": 1}
    assert found["faults"][0]["net"] == 2
    about = {"nets": 3, "rules": "r", "date": "d", "environment": {"torch": "x"}}
    assert "| silent | 1 |" in table(found | about)
    assert judged(0, "conservative")[0] == 0
    assert cause("rows of the batch interact: inputs") == "rows of the batch interact"
