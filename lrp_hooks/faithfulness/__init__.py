"""Is an explanation faithful? Metrics on a model, a batch and its scores."""

from .curve import Curve, bootstrap
from .fidelity import infidelity, leave_one_out_correlation, removal_error
from .metrics import (
    METRICS,
    Metric,
    accuracy,
    activation,
    aopc,
    comprehensiveness,
    curves,
    deletion,
    insertion,
    lerf_morf,
    log_odds,
    measure,
    pruning,
    sufficiency,
)
from .occlusion import Occlusion
from .plausibility import auprc, auroc, token_f1
from .stability import conservation_error, sensitivity

__all__ = [
    "METRICS",
    "Curve",
    "Metric",
    "Occlusion",
    "accuracy",
    "activation",
    "aopc",
    "auprc",
    "auroc",
    "bootstrap",
    "comprehensiveness",
    "conservation_error",
    "curves",
    "deletion",
    "infidelity",
    "insertion",
    "leave_one_out_correlation",
    "lerf_morf",
    "log_odds",
    "measure",
    "pruning",
    "removal_error",
    "sensitivity",
    "sufficiency",
    "token_f1",
]
