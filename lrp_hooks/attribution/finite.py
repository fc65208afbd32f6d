"""NaN and infinity: found before they reach a result, and traced to their origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..engine.wrappers import plain_name
from ..errors import NonFiniteError
from ..results.ledger import Ledger
from .inputs import Call

__all__ = ["check_ledger", "check_output", "check_relevance"]


def check_output(subject: Subject, call: Call, scalar: Tensor) -> None:
    """Refuse an explained scalar that is not finite, and say where that began.

    Args:
        subject: The model.
        call: The call that brought the scalar.
        scalar: [B].

    Raises:
        NonFiniteError: If an entry is NaN or infinite.
    """
    if bool(scalar.isfinite().all()):
        return
    for name, value in (
        *subject.model.named_parameters(),
        *subject.model.named_buffers(),
    ):
        if value.is_floating_point() and bool(value.isnan().any()):
            raise NonFiniteError(
                f"the model's output is not finite: NaN stands in its weights, first "
                f"in {plain_name(name)!r}. Load the weights again."
            )
    bad = [name for name, value in _inputs(call) if not bool(value.isfinite().all())]
    if bad:
        raise NonFiniteError(
            f"the model's output is not finite: NaN or infinity stands in the inputs, "
            f"in {bad[0]!r}. Pass finite numbers."
        )
    where = _first_module(subject, call)
    raise NonFiniteError(
        "the model's output is not finite: NaN or infinity appears first in the output "
        f"of {where}. Check the inputs, or run in a wider dtype (model.float())."
    )


def _inputs(call: Call) -> list[tuple[str, Tensor]]:
    """List the float inputs but masks, in which infinity has a meaning."""
    return [
        (name, value)
        for name, value in {**call.floats, **call.kwargs}.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and "mask" not in name
    ]


def _first_module(subject: Subject, call: Call) -> str:
    """Run the model once more and name the first module whose output is not finite."""
    bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            value = first_tensor(output, torch.Tensor.is_floating_point)
            if value is not None and not bool(value.isfinite().all()):
                bad.append(f"{name or 'the model'} ({type(module).__name__})")

        return hook

    with undoing() as undo, torch.no_grad():
        for name, module in subject.modules.items():
            undo.hook(module, "forward_hook", watch(name))
        call = call.fresh()
        subject.model(*call.args, **call.kwargs)
    return bad[0] if bad else "the model's last step"


def check_relevance(subject: Subject, grads: Mapping[str, Tensor]) -> None:
    """Refuse relevance that is not finite.

    Args:
        subject: The model.
        grads: ``{name: gradient}`` of what was read.

    Raises:
        NonFiniteError: If an entry is NaN or infinite.
    """
    for name, grad in grads.items():
        if not bool(grad.isfinite().all()):
            dtype = next((p.dtype for p in subject.model.parameters()), grad.dtype)
            raise NonFiniteError(
                f"the relevance of {name!r} is not finite although the output is; the "
                f"backward pass overflowed in {dtype}. Run in a wider dtype "
                "(model.float()), or audit() the model to see where."
            )


def check_ledger(ledger: Ledger) -> None:
    """Refuse a ledger with an entry that is not finite, and name it.

    Args:
        ledger: The ledger of an explained output that is finite.

    Raises:
        NonFiniteError: If an entry is NaN or infinite.
    """
    if bool(ledger.total.isfinite().all()):  # an entry that is not makes it so
        return
    for table in (ledger.sources, ledger.positions, {"the inputs": ledger.inputs}):
        for name, terms in table.items():
            if not bool(terms.isfinite().all()):
                raise NonFiniteError(
                    f"the relevance of {name!r} is not finite although the output is: "
                    "it holds NaN or infinity, or what it is multiplied with does. Put "
                    "a large finite number in place of infinity."
                )
