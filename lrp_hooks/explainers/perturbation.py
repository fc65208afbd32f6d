"""Explanations by what the output does when features are taken away."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import captum.attr
import torch
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn

from ..errors import ArgumentError
from .calls import check_number, seeded
from .game import Game
from .perturbing import Perturbing
from .ridge import Ridge
from .shapley import coalitions, shapley_values

__all__ = ["KernelShap", "LeaveOneOut", "Lime", "ShapleyValueSampling"]


class LeaveOneOut(Perturbing):
    """What the output loses when one feature alone is taken away.

    Also called occlusion; Li et al. 2016, https://arxiv.org/abs/1612.08220.
    """

    method = "leave_one_out"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        replace_with: Any = None,
        patch: int | None = None,
        batch_size: int = 32,
    ) -> None:
        """Remember the model and what stands for nothing.

        Args:
            model: Any module; it is only called.
            tokenizer: Tells special tokens. Defaults to ``None``: nothing is special.
            replace_with: What takes a token's place: ``"mask"``, ``"unk"``, ``"pad"``,
                an id, or ``"delete"``, which takes the token out and closes up. Of
                float inputs, a number or a tensor. Defaults to ``None``: the
                tokenizer's mask token, else its unknown one, else padding; without a
                tokenizer the ``pad_token_id`` of the model's config; 0 for floats.
            patch: The side of an image's patches in pixels. Defaults to ``None``: a
                fourteenth of the image.
            batch_size: How many perturbed inputs are run at a time. Defaults to ``32``.
        """
        super().__init__(model, tokenizer, replace_with, patch, batch_size)

    def scores(self, game: Game) -> Tensor:
        """Score the features of one example.

        Args:
            game: The output for every coalition of them.

        Returns:
            f(all) - f(all but j), [d].
        """
        found: Tensor = captum.attr.FeatureAblation(game).attribute(
            torch.ones(1, game.size), perturbations_per_eval=game.size
        )
        return found[0]


class _Sampled(Perturbing):
    """Base of the methods that draw coalitions at random."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        n_samples: int | None = None,
        seed: int = 0,
        replace_with: Any = None,
        patch: int | None = None,
        batch_size: int = 32,
    ) -> None:
        """Remember the model and how to sample.

        Args:
            model: Any module; it is only called.
            tokenizer: As for ``LeaveOneOut``.
            n_samples: How many coalitions of features are drawn for each example, at
                least one more than it has features. Defaults to ``None``: ten for each
                feature, and at least 200.
            seed: One seed, one answer, whatever the batch. Defaults to ``0``.
            replace_with: As for ``LeaveOneOut``.
            patch: As for ``LeaveOneOut``.
            batch_size: As for ``LeaveOneOut``.
        """
        super().__init__(model, tokenizer, replace_with, patch, batch_size)
        if n_samples is not None:
            check_number("n_samples", n_samples, least=1, whole=True)
        check_number("seed", seed, least=None, whole=True)
        self.n_samples, self.seed = n_samples, seed

    def _number(self, game: Game) -> int:
        """Return how many coalitions to draw."""
        d = game.size
        if self.n_samples is None:
            return max(200, 10 * d)
        if self.n_samples <= d:
            raise ArgumentError(
                f"n_samples={self.n_samples} is too few for example {game.row}, which "
                f"has {d} features; the minimum is {d + 1}."
            )
        return self.n_samples


class Lime(_Sampled):
    """The slopes of a linear model fitted to the output around the input.

    It samples, weighs and fits as the text explainer of LIME's authors does: a number
    of features drawn uniformly from 1, ..., d, then which ones, is taken away; samples
    weigh by a kernel of the cosine distance; the fit is a ridge regression. Features
    are positions, so a word that occurs twice is two features; the only feature of an
    example scores f(all) - f(none), without a penalty.

    Ribeiro et al. 2016, https://arxiv.org/abs/1602.04938.
    """

    method = "lime"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        n_samples: int | None = None,
        kernel_width: float = 25.0,
        alpha: float = 1.0,
        seed: int = 0,
        replace_with: Any = None,
        patch: int | None = None,
        batch_size: int = 32,
    ) -> None:
        """Remember the model, how to sample and how to fit.

        Args:
            model: Any module; it is only called.
            tokenizer: As for ``LeaveOneOut``.
            n_samples: How many coalitions of features are drawn for each example, at
                least one more than it has features. Defaults to ``None``: ten for each
                feature, and at least 200.
            kernel_width: Width of the kernel, in hundredths of a cosine distance;
                ``math.inf`` weighs all samples alike. Defaults to ``25.0``, LIME's own.
            alpha: Weight of the ridge penalty, which draws scores towards 0 the more,
                the fewer samples there are. Defaults to ``1.0``, LIME's own.
            seed: One seed, one answer, whatever the batch. Defaults to ``0``.
            replace_with: As for ``LeaveOneOut``.
            patch: As for ``LeaveOneOut``.
            batch_size: As for ``LeaveOneOut``.

        Raises:
            ArgumentError: If the kernel has no width.
        """
        super().__init__(
            model,
            tokenizer,
            n_samples=n_samples,
            seed=seed,
            replace_with=replace_with,
            patch=patch,
            batch_size=batch_size,
        )
        check_number("kernel_width", kernel_width, least=0, whole=False)
        if kernel_width == 0:
            raise ArgumentError("kernel_width=0 gives all samples no weight; widen it.")
        check_number("alpha", alpha, least=0, whole=False)
        self.kernel_width, self.alpha = kernel_width, alpha

    def scores(self, game: Game) -> Tensor:
        """Score the features of one example.

        Args:
            game: The output for every coalition of them.

        Returns:
            The slopes, [d].
        """
        width = self.kernel_width / 100
        surrogate = captum.attr.Lime(
            game,
            interpretable_model=Ridge(self.alpha),
            similarity_func=get_exp_kernel_similarity_function("cosine", width),
            perturb_func=_removals,
        )
        number = self._number(game)
        with seeded(self.seed):
            found: Tensor = surrogate.attribute(
                torch.ones(1, game.size),
                n_samples=number,
                perturbations_per_eval=number,
                return_input_shape=False,
            )
        return found


class KernelShap(_Sampled):
    """Shapley values as the solution of one weighted regression.

    They sum to f(all) - f(none). Besides the full and the empty coalition,
    ``n_samples`` are drawn with probabilities in proportion to the Shapley kernel;
    where no more than these exist, each is taken once, and the values are exact.

    Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874.
    """

    method = "kernel_shap"

    def scores(self, game: Game) -> Tensor:
        """Score the features of one example.

        Args:
            game: The output for every coalition of them.

        Returns:
            The Shapley values, or estimates of them, [d].
        """
        with seeded(self.seed):
            kept, weights = coalitions(game.size, self._number(game))
        (none,) = game(torch.zeros(1, game.size))
        return shapley_values(kept, game(kept) - none, weights, -none)


class ShapleyValueSampling(_Sampled):
    """Shapley values as the mean of what features add in random orders.

    They sum to f(all) - f(none). ``n_samples`` counts orders, of which each shows the
    model at most one input a feature. Defaults to ``None``: 25.

    Castro et al. 2009, https://doi.org/10.1016/j.cor.2008.04.004; Strumbelj and
    Kononenko 2010, https://jmlr.org/papers/v11/strumbelj10a.html.
    """

    method = "shapley_value_sampling"

    def scores(self, game: Game) -> Tensor:
        """Score the features of one example.

        Args:
            game: The output for every coalition of them.

        Returns:
            Estimates of the Shapley values, [d].
        """
        with seeded(self.seed):
            found: Tensor = captum.attr.ShapleyValueSampling(game).attribute(
                torch.ones(1, game.size),
                n_samples=25 if self.n_samples is None else self.n_samples,
                perturbations_per_eval=game.size,
            )
        return found[0]


def _removals(original: Tensor, **_: Any) -> Generator[Tensor]:
    """Draw coalitions as LIME does, the full one first, each [1, d]."""
    d = original.shape[1]
    yield torch.ones(1, d, dtype=torch.long)
    while True:
        kept = torch.ones(1, d, dtype=torch.long)
        kept[0, torch.randperm(d)[: int(torch.randint(1, d + 1, ()))]] = 0
        yield kept
