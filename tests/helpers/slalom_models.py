"""Models that are a SLALOM, in every form of output, and what tells special tokens."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

CLS, SEP, PAD, UNK = 90, 91, 92, 93
VOCABULARY = 100


class Exact(nn.Module):
    """F(t) = sum softmax(s) v, as one logit, several, or those of a language model.

    Args:
        head: ``"two"``, ``"three"``, ``"one"``, ``"flat"``, ``"language"``.
        silent: Ids that weigh nothing.
        spread: Standard deviation of importances.
    """

    def __init__(self, head="two", silent=(), spread=1.0, seed=0, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(2, VOCABULARY, generator=generator, dtype=torch.float64)
        self.v = nn.Parameter(2 * draw[0].to(dtype))
        self.s = nn.Parameter(spread * draw[1].to(dtype))
        self.s.data[list(silent)] = -torch.inf
        self.head, self.seen = head, []

    def log_odds(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        importances = self.s[ids]
        if mask is not None:
            importances = importances.masked_fill(mask == 0, -torch.inf)
        return (importances.softmax(1) * self.v[ids]).sum(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None):
        self.seen += [tuple(row) for row in input_ids.tolist()]
        odds = self.log_odds(input_ids, attention_mask)
        if self.head == "flat":
            return odds
        if self.head == "one":
            return SimpleNamespace(logits=odds[:, None])
        # The log-odds of class 1 against all others, whatever those are.
        others = [0.3, -1.0] if self.head != "two" else [0.7]
        rest = odds.new_tensor(others).expand(len(odds), -1)
        logits = torch.cat([rest[:, :1], odds[:, None], rest[:, 1:]], 1)
        logits[:, 1] += rest.logsumexp(1)
        if self.head == "language":
            noise = torch.full_like(logits, torch.nan)
            last = (
                torch.ones_like(input_ids) if attention_mask is None else attention_mask
            )
            places = torch.arange(input_ids.shape[1]).where(last != 0, -1).amax(1)
            at = torch.arange(input_ids.shape[1])[None] == places[:, None]
            return torch.where(at[..., None], logits[:, None], noise[:, None])
        return SimpleNamespace(logits=logits)


class Constant(nn.Module):
    """Whatever comes, the same logits."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.tensor([[0.0, 1.5]]).expand(len(input_ids), 2)


class Hash(nn.Module):
    """A number that no part of a text tells anything of."""

    def forward(self, input_ids: Tensor) -> Tensor:
        places = torch.arange(1, input_ids.shape[1] + 1)
        odds = torch.sin(1e3 * torch.sin((input_ids + 7.0) * places).sum(1))
        return torch.stack([torch.zeros_like(odds), odds], 1)


def special(*ids: int, pad: int | None = PAD) -> SimpleNamespace:
    """Return what a tokenizer says of special tokens: those, padding and unknown."""
    added = [*ids, UNK, *([] if pad is None else [pad])]
    return SimpleNamespace(all_special_ids=added, unk_token_id=UNK, pad_token_id=pad)


def centred(importances: Tensor) -> Tensor:
    """Return importances of mean 0."""
    return importances - importances.mean()


def brute_force(ids, values, importances) -> float:
    """Return F of one list of ids, copy by copy, from ``{id: number}``."""
    weights = [
        torch.tensor(float(importances[i]), dtype=torch.float64).exp() for i in ids
    ]
    total = sum(weights)
    return float(sum(w / total * values[i] for w, i in zip(weights, ids, strict=True)))
