"""Explain what a Transformer did, with numbers that add up.

`instrument` hooks any ``torch.nn.Module`` so that one ordinary backward pass propagates
relevance conservatively (layer-wise relevance propagation as a modified gradient).
"""

from . import faithfulness
from .attention_maps import AttentionMaps
from .audit import Audit
from .autograd import freeze, rescale, secant, slope, split
from .comparison import Comparison, compare
from .coverage import Coverage
from .errors import (
    AlreadyInstrumentedError,
    ArgumentError,
    CompiledModelError,
    InferenceModeError,
    LrpHooksError,
    LrpHooksWarning,
    ModelFolderError,
    NonFiniteError,
    RegistrationError,
    RuleError,
    TargetError,
    TextError,
    UnknownTokensWarning,
    UnruledError,
    UnruledWarning,
    UnsupportedModelError,
)
from .explain import explain
from .explanation import Explanation
from .generation import GenerationExplanation, explain_generation
from .instrument import Instrumentation, instrument
from .latent import heads
from .layer_flow import LayerFlow, layer_flow
from .readout import Contrast
from .registry import register
from .relevance import Ledger, Relevance
from .rule import LeafRule, Rule, ScopeRule
from .ruleset import RuleSet

__version__ = "0.1.0"

__all__ = [
    "AlreadyInstrumentedError",
    "ArgumentError",
    "AttentionMaps",
    "Audit",
    "Comparison",
    "CompiledModelError",
    "Contrast",
    "Coverage",
    "Explanation",
    "GenerationExplanation",
    "InferenceModeError",
    "Instrumentation",
    "LayerFlow",
    "LeafRule",
    "Ledger",
    "LrpHooksError",
    "LrpHooksWarning",
    "ModelFolderError",
    "NonFiniteError",
    "RegistrationError",
    "Relevance",
    "Rule",
    "RuleError",
    "RuleSet",
    "ScopeRule",
    "TargetError",
    "TextError",
    "UnknownTokensWarning",
    "UnruledError",
    "UnruledWarning",
    "UnsupportedModelError",
    "compare",
    "explain",
    "explain_generation",
    "faithfulness",
    "freeze",
    "heads",
    "instrument",
    "layer_flow",
    "register",
    "rescale",
    "secant",
    "slope",
    "split",
]
