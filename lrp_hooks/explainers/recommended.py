"""What to ask `explain` for, by what is explained, as measured.

No rule set is nearly the best for everything; ``benchmarks/faithfulness/search`` has
the numbers, and a test holds this table to them.
"""

from __future__ import annotations

from torch import nn

from ..errors import ArgumentError
from ..tasks.kinds import Task, task_of

__all__ = ["RECOMMENDED", "recommendation"]

_SHARED = 'rules=RuleSet.named("conservative").override(attention=Attention(0.4))'
RECOMMENDED = {
    "texts": f'explain(..., {_SHARED}).complete("equal")',
    "a next token": 'explain(..., rules="attnlrp").complete("site")',
    "pictures": f'explain(..., {_SHARED}).complete("abs")',
    "molecules and reactions": f'explain(..., {_SHARED}).complete("equal")',
    "an answer": 'explain(..., rules="attnlrp").complete("site")',
    "what people marked": 'explain(..., method="generic_attention")',
    "anything": f'explain(..., {_SHARED}).complete("equal")',
}
"""By mean relative rank the best of the methods with one backward pass."""


def recommendation(model: nn.Module) -> str:
    """Say what to explain a model with; nothing is chosen by it.

    Args:
        model: Any; its class and configuration tell what it reads.

    Returns:
        A line for what the model is likely used for, and one for where to read more.

    Raises:
        ArgumentError: If it is no model.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is {model!r:.60}, no torch.nn.Module. Pass the model itself."
        )
    kind = _kind(model)
    return (
        f"recommended for {kind}  {RECOMMENDED[kind]}\n"
        "  nearest the best on average, not everywhere: docs/systems/lrp.md"
    )


def _kind(model: nn.Module) -> str:
    task = task_of(model)
    if getattr(model, "main_input_name", None) == "pixel_values":
        return "pictures"
    if task is Task.NEXT_TOKEN:
        return "a next token"
    has_vocabulary = hasattr(getattr(model, "config", None), "vocab_size")
    return "texts" if task is not None and has_vocabulary else "anything"
