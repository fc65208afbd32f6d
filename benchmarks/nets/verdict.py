"""What came of one net: its ledger closed, it was told why not, or neither."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

import lrp_hooks
from lrp_hooks.errors import LrpHooksError, LrpHooksWarning

from .grammar import Net, Plan
from .steps import LENGTH, WIDTH

__all__ = ["LIMIT", "Verdict", "judge"]

LIMIT = 1e-8
"""The largest error of a ledger that closes, in float64."""
_GATE = "at the model's end"
"""What is said of a probability: the logit is explained, and its ledger must close."""


@dataclass(frozen=True)
class Verdict:
    """What came of a net.

    Attributes:
        kind: ``"closed"``, ``"told"`` by a warning, ``"refused"`` by an error of ours,
            ``"impossible"`` where torch itself cannot, or ``"silent"``, a fault.
        error: The ledger's.
        said: The warning or error, or what is wrong.
    """

    kind: str
    error: float
    said: str = ""


def judge(plan: Plan, rules: str = "conservative") -> Verdict:
    """Explain a net, and see what came of it.

    Args:
        plan: The net.
        rules: The rule set.

    Returns:
        The verdict.
    """
    model = Net(plan)
    x = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = _plain(model, x)
    if plain is None:
        return Verdict("impossible", 0.0)
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with lrp_hooks.instrument(model, rules) as lrp:
                output = model(x)
                found = lrp.attribute(x, target=1)
        except LrpHooksError as error:
            return Verdict("refused", 0.0, str(error))
    ours = [w for w in caught if issubclass(w.category, LrpHooksWarning)]
    said = [text for w in ours if _GATE not in (text := str(w.message))]
    worst = float(found.ledger.error.max())
    wrong = _wrong(model, x, plain, output, before)
    if wrong:
        return Verdict("silent", worst, wrong)
    if said:
        return Verdict("told", worst, said[0])
    if not worst <= LIMIT:
        return Verdict("silent", worst, "the ledger does not close")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = _unequal(model, x, rules, found.scores, found.output)
    return Verdict("silent" if wrong else "closed", worst, wrong)


def _plain(model: Net, x: Tensor) -> Tensor | None:
    """Return the output, None where torch has no finite one or no gradient."""
    leaf = x.clone().requires_grad_()
    try:
        output = model(leaf)
        (grad,) = torch.autograd.grad(output[:, 1].sum(), leaf, allow_unused=True)
    except RuntimeError:
        return None
    finite = grad is not None and bool(
        output.isfinite().all() and grad.isfinite().all()
    )
    return output.detach() if finite else None


def _wrong(
    model: Net, x: Tensor, plain: Tensor, output: Tensor, before: dict[str, Tensor]
) -> str:
    if not torch.equal(output.detach(), plain):
        return "another output while instrumented"
    after = model.state_dict()
    if not all(torch.equal(after[name], value) for name, value in before.items()):
        return "another state afterwards"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = _plain(model, x)
    same = again is not None and torch.equal(again, plain)
    return "" if same else "another output afterwards"


def _unequal(model: Net, x: Tensor, rules: str, scores: Tensor, output: Tensor) -> str:
    """Compare scores with those of a frozen copy, and of each example alone."""
    frozen = Net(model.plan).requires_grad_(False)
    with lrp_hooks.instrument(frozen, rules) as lrp:
        if not _close(lrp.attribute(x, target=1).scores, scores):
            return "other scores where weights are frozen"
        alone = [lrp.attribute(row[None], target=1) for row in x]
    if not _close(torch.cat([one.output for one in alone]), output):
        return ""  # a gate of one example may be made of others
    same = _close(torch.cat([one.scores for one in alone]), scores)
    return "" if same else "other scores for an example alone"


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-7, atol=1e-9 * (1 + float(b.abs().max())))
