"""What the tests of real models' conditions share: families, and a closed ledger."""

import pytest

from lrp_hooks import instrument
from small_models import logits

FAMILIES = ("bert", "gpt2", "llama")
COMPLETE = ("conservative", "cp-lrp", "attnlrp")
families = pytest.mark.parametrize("family", FAMILIES)


def scalar(output):
    """Explain the last number of each example."""
    return logits(output).flatten(1)[:, -1]


def explain(model, inputs, target=scalar, rules="conservative"):
    with instrument(model, rules) as lrp:
        return lrp.attribute(inputs, target)


def assert_closed(found, tolerance=1e-10):
    """Compare the ledger's gap with what was summed: outputs may nearly cancel."""
    assert found.scores.isfinite().all()
    assert (found.scores != 0).any()
    ledger = found.ledger
    terms = [found.scores.double().abs().sum(1), ledger.output.double().abs()]
    terms += [source.double().abs() for source in ledger.sources.values()]
    gap = (ledger.output.double() - ledger.total.double()).abs()
    assert (gap <= tolerance * sum(terms)).all()
