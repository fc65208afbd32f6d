"""Functions that torch has samples for, each with some of its arguments live.

The ledger of the call closes, or a warning names the function. With every subset of the
arguments live: ``benchmarks/functions``.
"""

import pytest
import torch

import lrp_hooks
from benchmarks.functions.probe import LIMIT, leak, samples, subsets, tensors
from benchmarks.functions.run import UNREADABLE, kind_of, table
from lrp_hooks.engine import splice

pytest.importorskip("expecttest", reason="torch's samples need it")
from torch.testing._internal.common_methods_invocations import (  # noqa: E402
    op_db,
)

OPS = [op for op in op_db if op.name not in UNREADABLE and torch.float64 in op.dtypes]
PARTS = 8
"""Tests that the functions are dealt out to; one each would take long to collect."""


@pytest.mark.parametrize("part", range(PARTS))
def test_the_ledger_closes_or_the_function_is_named(part):
    for number, op in enumerate(OPS[part::PARTS]):
        complex_too = torch.complex128 in op.dtypes and number % 2
        dtype = torch.complex128 if complex_too else torch.float64
        for call in samples(op, dtype, 1):
            given = tensors(call)
            for live in {subsets(given)[number % len(subsets(given))], tuple(given)}:
                missing = leak(op.op, call, live)
                told = missing is None or isinstance(missing, str)
                places = [i for i, t in enumerate(given) if any(t is o for o in live)]
                assert told or missing <= LIMIT, (
                    f"{op.name}: {missing:.1e} of the relevance is missing where the "
                    f"arguments {places} carry it: {call}"
                )


def test_a_fault_is_found():
    def lossy(func, x):
        return splice(func(x.detach()), x, lambda grad: 0.9 * grad)

    class Lossy(lrp_hooks.ScopeRule):
        def functions(self, module):
            return {torch.tanh: lossy}

    call = ((torch.tensor([2.0, 3.0], dtype=torch.float64),), {})
    rules = lrp_hooks.RuleSet.named("conservative").override(activation=Lossy())
    assert leak(torch.tanh, call, tensors(call)) <= LIMIT
    assert leak(torch.tanh, call, tensors(call), rules) > 0.01
    assert leak(torch.special.ndtr, call, tensors(call)) == "special_ndtr"


def test_what_is_known_of_a_function():
    assert kind_of(torch.sum, "conservative") == "linear"
    assert kind_of(torch.softmax, "conservative") == "ruled"
    assert kind_of(torch.special.ndtr, "conservative") == "no rule"


def test_the_table_counts():
    rows = [
        {"name": "torch.sum", "kind": "linear", "closed": 3, "told": []},
        {"name": "torch.odd", "kind": "told", "closed": 1, "told": ["0", "0, 1"]},
    ]
    about = {"environment": {"torch": "x"}, "rules": "r", "date": "d"}
    text = table({"functions": rows} | about)
    assert "| told | 1 |" in text
    assert "`torch.odd` (0; 0, 1)" in text
    assert "4 calls" in text
