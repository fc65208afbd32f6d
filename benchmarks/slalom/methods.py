"""Every surrogate behind one interface: from ids to a prediction of the log-odds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from captum._utils.models.model import Model
from captum.attr import KernelShap, Lime
from torch import Tensor, nn

from lrp_hooks.explainers.slalom import Slalom
from lrp_hooks.explainers.slalom.sampling import HELD_OUT

Rows = Sequence[Tensor]


class Fitted(NamedTuple):
    """A surrogate.

    Attributes:
        predict: From sequences of ids, special tokens included, to log-odds.
        calls: The sequences that the model was shown to fit it.
        seconds: CPU time of everything but the model.
    """

    predict: Callable[[Rows], Tensor]
    calls: int
    seconds: float


class Clocked(nn.Module):
    """A classifier that counts what it is shown, and its CPU time."""

    def __init__(self, model: nn.Module) -> None:
        """Wrap a model."""
        super().__init__()
        self.model, self.calls, self.seconds = model, 0, 0.0

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return logits ``[N, 2]``."""
        start = time.process_time()
        with torch.no_grad():
            logits: Tensor = self.model(input_ids).logits
        self.calls += len(input_ids)
        self.seconds += time.process_time() - start
        return logits

    def log_odds(self, rows: Rows) -> Tensor:
        """Return logit 1 minus logit 0 of sequences ``[N, L]`` or of any lengths."""
        found = torch.empty(len(rows), dtype=torch.float64)
        lengths = torch.tensor([len(row) for row in rows])
        for length in lengths.unique():
            places = (lengths == length).nonzero()[:, 0]
            for part in places.split(64):
                logits = self.forward(torch.stack([rows[i] for i in part])).double()
                found[part] = logits[:, 1] - logits[:, 0]
        return found


class Weighted(Model):  # type: ignore[misc]
    """Weighted least squares with a small ridge, as captum's linear models are used."""

    ridge = 1e-3

    def fit(self, train_data: Any, **kwargs: object) -> None:
        """Fit all samples at once."""
        x, y, weights = (part.double() for part in next(iter(train_data)))
        self.solution = linear(x, y.flatten(), weights.flatten(), self.ridge)

    def representation(self) -> Tensor:
        """Return the coefficients."""
        return self.solution[:-1].float()

    def __call__(self, x: Tensor) -> Tensor:
        """Predict."""
        return x.double() @ self.solution[:-1] + self.solution[-1]


def linear(x: Tensor, y: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Return coefficients and the intercept, which the ridge leaves alone."""
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    design = torch.cat([x, ones], 1)
    scaled = weights / weights.mean()
    gram = (design.T * scaled) @ design
    gram.diagonal()[:-1] += ridge * len(x)
    gram.diagonal()[-1] += 1e-9
    return torch.linalg.solve(gram, (design.T * scaled) @ y)


def slalom(sampling: str, fit: str) -> Callable[..., Fitted]:
    """Return a SLALOM; of published samplings, ``calls`` sequences are fitted."""

    def run(model: Clocked, tokenizer: Any, ids: Tensor, calls: int, seed: int) -> Any:
        number = calls
        if sampling != "mixed":  # what is held out comes on top
            number = calls + 2 * (calls // (HELD_OUT - 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = Slalom(
                model,
                tokenizer,
                sampling=sampling,
                fit=fit,
                n_samples=max(number, len(set(ids[0].tolist()))),
                seed=seed,
            )
            found = explainer(ids, target=1)
        return lambda rows: torch.cat([found.surrogate(r[None]) for r in rows])

    return timed(run)


def deletion_regression(
    model: Clocked, tokenizer: Any, ids: Tensor, calls: int, seed: int
) -> Callable[[Rows], Tensor]:
    """Regress on how often each token is left, in texts without 1 to 10 tokens."""
    generator = torch.Generator().manual_seed(seed)
    rows = [deleted(ids[0], generator) for _ in range(calls)]
    kinds = ids[0, 1:-1].unique()
    outputs = model.log_odds(rows)
    solution = linear(bag(rows, kinds), outputs, torch.ones(calls).double(), 1e-3)
    return lambda new: bag(new, kinds) @ solution[:-1] + solution[-1]


def replacement(make: Callable[[Any], Any]) -> Callable[..., Fitted]:
    """Return LIME or KernelSHAP of captum, which put the unknown token for tokens."""

    def run(model: Clocked, tokenizer: Any, ids: Tensor, calls: int, seed: int) -> Any:
        length = ids.shape[1] - 2
        mask = torch.tensor([[0, *range(length), length - 1]])

        def forward(shown: Tensor) -> Tensor:
            # The special tokens are no features: they stay.
            shown = torch.cat(
                [
                    ids[:, :1].expand(len(shown), 1),
                    shown[:, 1:-1],
                    ids[:, -1:].expand(len(shown), 1),
                ],
                1,
            )
            return model.log_odds(shown)

        tool = make(forward)
        tool.interpretable_model = Weighted()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tool.attribute(
                ids,
                baselines=tokenizer.unk_token_id,
                feature_mask=mask,
                n_samples=calls,
                perturbations_per_eval=64,
            )
        kinds, places = ids[0, 1:-1].unique(return_inverse=True)
        weights, intercept = tool.interpretable_model.solution.split([length, 1])
        total = torch.zeros(len(kinds)).double().scatter_add_(0, places, weights)
        each = total / places.bincount()
        return lambda rows: bag(rows, kinds) @ each + intercept

    return timed(run)


def timed(run: Callable[..., Any]) -> Callable[..., Fitted]:
    """Count a method's calls and measure its time without the model's."""

    def measured(
        model: Clocked, tokenizer: Any, ids: Tensor, calls: int, seed: int
    ) -> Fitted:
        shown, spent, start = model.calls, model.seconds, time.process_time()
        predict = run(model, tokenizer, ids, calls, seed)
        seconds = time.process_time() - start - (model.seconds - spent)
        return Fitted(predict, model.calls - shown, seconds)

    return measured


def lime(forward: Any) -> Any:
    """Build captum's LIME."""
    return Lime(forward, interpretable_model=Weighted())


METHODS: dict[str, Callable[..., Fitted]] = {
    "slalom": slalom("mixed", "gauss-newton"),
    "eff": slalom("short", "sgd"),
    "fidel": slalom("deletion", "als"),
    "deletion-sgd": slalom("deletion", "sgd"),
    "linear": timed(deletion_regression),
    "lime": replacement(lime),
    "kernel-shap": replacement(KernelShap),
}


def deleted(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Return a text ``[T]`` without 1 to 10 of its ordinary tokens."""
    inner = ids[1:-1]
    most = min(10, len(inner) - 1)
    number = int(torch.randint(1, most + 1, (), generator=generator))
    order = torch.randperm(len(inner), generator=generator)
    return torch.cat([ids[:1], inner[order[number:].sort().values], ids[-1:]])


def triple(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Return three random tokens of a text between its special tokens."""
    kinds = ids[1:-1].unique()
    drawn = kinds[torch.randint(len(kinds), (3,), generator=generator)]
    return torch.cat([ids[:1], drawn, ids[-1:]])


def bag(rows: Rows, kinds: Tensor) -> Tensor:
    """Count kinds of tokens in sequences, ``[N, D]``."""
    return torch.stack([(row[:, None] == kinds).sum(0) for row in rows]).double()
