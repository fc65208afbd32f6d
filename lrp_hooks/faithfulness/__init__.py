"""Is an explanation faithful? Metrics on a model, a batch and its scores."""

from .chunk import evaluate_chunk
from .curve import Curve, bootstrap
from .evaluate import evaluate
from .evaluation import Evaluation
from .fidelity import leave_one_out_correlation, removal_error
from .infidelity import infidelity
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
from .plan import BETTER, Plan, plan_of
from .plausibility import auprc, auroc, token_f1
from .results import Results
from .stability import conservation_error, sensitivity

__all__ = [
    "BETTER",
    "METRICS",
    "Curve",
    "Evaluation",
    "Metric",
    "Occlusion",
    "Plan",
    "Results",
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
    "evaluate",
    "evaluate_chunk",
    "infidelity",
    "insertion",
    "leave_one_out_correlation",
    "lerf_morf",
    "log_odds",
    "measure",
    "plan_of",
    "pruning",
    "removal_error",
    "sensitivity",
    "sufficiency",
    "token_f1",
]
