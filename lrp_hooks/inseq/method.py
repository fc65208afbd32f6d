"""inseq's attribution method ``"lrp"``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ..captum import ConservativeRelevance
from ..engine.acceptance import Key
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet
from ..errors import LrpHooksWarning
from ..support.extras import require

__all__ = ["RelevanceAttribution"]

_gradients = require("inseq.attr.feat.gradient_attribution", "inseq", "lrp_hooks.inseq")
_LINEAR = ("logit_fn", "contrast_logits_diff_fn")
"""Step functions of which relevance conserves."""


class RelevanceAttribution(_gradients.GradientAttributionRegistry):  # type: ignore[misc, name-defined]
    """Layer-wise relevance propagation as inseq's method ``"lrp"``.

    ``inseq.load_model(model, "lrp", rules="attnlrp")``; rows sum to the logit, less
    what biases and positions have, with ``attributed_fn="logit"``.
    """

    method_name = "lrp"

    def __init__(
        self,
        attribution_model: Any,
        rules: RuleSet | str | None = None,
        overrides: Mapping[Key, Rule] | None = None,
        strict: bool = False,
        **options: Any,
    ) -> None:
        """Take inseq's model.

        Args:
            attribution_model: What ``inseq.load_model`` made.
            rules: See `instrument`. Defaults to ``"conservative"``.
            overrides: See `instrument`.
            strict: See `instrument`.
            **options: Further options, which inseq passes to all methods.
        """
        super().__init__(attribution_model)
        self.method = ConservativeRelevance(attribution_model, rules, overrides, strict)
        self.use_baselines = False

    def attribute_step(
        self,
        attribute_fn_main_args: dict[str, Any],
        attribution_args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Attribute one generated token; see inseq.

        Args:
            attribute_fn_main_args: Inputs, target and further arguments.
            attribution_args: Options of the method.

        Returns:
            What inseq makes of relevance.
        """
        for given in attribute_fn_main_args.get("additional_forward_args", ()):
            if callable(given):
                _check_linear(given)
        return super().attribute_step(attribute_fn_main_args, attribution_args or {})


def _check_linear(function: Callable[..., Any]) -> None:
    """Warn of what is explained where that is no logit: it conserves nothing."""
    name = getattr(function, "__name__", "")
    if name.endswith("_fn") and name not in _LINEAR:
        warnings.warn(
            f"attributed_fn={name.removesuffix('_fn')!r} is no linear function of the "
            "logits, so what is conserved is not that number. Pass "
            "attributed_fn='logit' or 'contrast_logits_diff'.",
            LrpHooksWarning,
            stacklevel=2,
        )
