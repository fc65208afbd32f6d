"""Frozen attention beside its products: ``python -m benchmarks.cost.attention``.

One head of random queries, keys and values. Two matrix products are the least that its
backward pass P^T g costs where P was not kept: the scores again, and P times g.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_hooks import instrument

from . import report
from .run import parse_arguments, save, start
from .timing import cpu_seconds, interleave

CONFIG: dict[str, Any] = {
    "tokens": [512, 2048, 8192, 32768],
    "width": 64,
    "block": 512,
    "threads": 1,
    "seed": 0,
    "seconds_per_case": 20,
    "rounds": [3, 15],
}
QUICK = {"tokens": [64, 600], "seconds_per_case": 0, "rounds": [1, 1]}


class Attending(nn.Module):
    """Attention and nothing else."""

    def __init__(self, is_causal: bool) -> None:
        """Say whether a query sees later keys."""
        super().__init__()
        self.is_causal = is_causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)


def main() -> None:
    """Run what the results lack, save after each case, print the table."""
    arguments = parse_arguments(__doc__)
    config = CONFIG | (QUICK if arguments.quick else {})
    torch.set_num_threads(config["threads"])
    path = arguments.output or (None if arguments.quick else report.ATTENTION)
    results = start(path, config, arguments.fresh)
    measured(
        config | QUICK, QUICK["tokens"][0], is_causal=False
    )  # a first call is dear
    for tokens in config["tokens"]:
        for is_causal in (False, True):
            kind = "causal attention" if is_causal else "attention"
            name = f"{kind} 1x{tokens}"
            if name not in results["cases"]:
                about = {"model": kind, "batch": 1, "length": tokens}
                results["cases"][name] = about | measured(config, tokens, is_causal)
                save(results, path)
                print(name, flush=True)
    print(report.attention(results))


def measured(config: dict[str, Any], tokens: int, is_causal: bool) -> dict[str, Any]:
    """Measure one length.

    Args:
        config: See `CONFIG`.
        tokens: T, as many queries as keys.
        is_causal: Whether a query sees no later key.

    Returns:
        ``{"seconds": {method: one number a round}}``.
    """
    torch.manual_seed(config["seed"])
    q, k, v, g = torch.randn(4, 1, 1, tokens, config["width"]).unbind()
    model = Attending(is_causal)
    methods = {
        report.FORWARD: lambda: cpu_seconds(lambda: model(q, k, v)),
        report.PRODUCTS: lambda: cpu_seconds(
            lambda: products(q[0, 0], k[0, 0], g[0, 0], config["block"], is_causal)
        ),
        report.FROZEN: lambda: backward(model, (q, k, v), g, "conservative"),
        report.PLAIN: lambda: backward(model, (q, k, v), g, "gradient"),
    }
    rounds = tuple(config["rounds"])
    return {"seconds": interleave(methods, config["seconds_per_case"], rounds)}


def products(q: Tensor, k: Tensor, g: Tensor, block: int, is_causal: bool) -> Tensor:
    """Take K Q^T and its product with the gradient, block by block.

    Args:
        q: [T, D].
        k: [T, D].
        g: [T, D].
        block: How many rows and columns are taken at a time.
        is_causal: Leave out what a query does not see.

    Returns:
        [T, D].
    """
    result = torch.zeros_like(k)
    for row in range(0, len(k), block):
        rows = slice(row, row + block)
        for column in range(row if is_causal else 0, len(q), block):
            columns = slice(column, column + block)
            result[rows].addmm_(k[rows] @ q[columns].T, g[columns])
    return result


def backward(
    model: nn.Module, given: tuple[Tensor, ...], grad: Tensor, rules: str
) -> float:
    """Measure a backward pass alone, of queries, keys and values that need it."""
    leaves = [t.clone().requires_grad_() for t in given]
    with instrument(model, rules):
        y = model(*leaves)
        run: Callable[[], Any] = lambda: torch.autograd.grad(  # noqa: E731
            y, leaves, grad, allow_unused=True
        )
        return cpu_seconds(run)


if __name__ == "__main__":
    main()
