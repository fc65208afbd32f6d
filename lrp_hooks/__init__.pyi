from . import captum, explainers, faithfulness, patching, rules, sentiment, words
from .answers import AnswerExplanation, explain_answer
from .attribution.attention_maps import AttentionMaps
from .attribution.audit import Audit
from .attribution.heads import heads
from .attribution.instrument import Instrumentation, instrument
from .attribution.layer_flow import layer_flow
from .attribution.readout import Contrast
from .circuits import Circuit, find_circuit, intervene
from .engine.autograd import freeze, rescale, secant, slope, split
from .engine.coverage import Coverage
from .engine.registry import register
from .engine.rule import LeafRule, Rule, ScopeRule
from .engine.ruleset import RuleSet
from .errors import (
    AdditivityWarning,
    AlreadyInstrumentedError,
    ArgumentError,
    CompiledModelError,
    ConstantsWarning,
    ConvergenceWarning,
    GenerationInterrupted,
    InferenceModeError,
    LrpHooksError,
    LrpHooksWarning,
    ModelFolderError,
    NonFiniteError,
    RegistrationError,
    RuleError,
    SecondOrderError,
    TargetError,
    TextError,
    UnknownTokensWarning,
    UnruledError,
    UnruledWarning,
    UnsupportedModelError,
    WeightGradientWarning,
)
from .explainers.compare import compare
from .explainers.explain import explain
from .generation import GenerationExplanation, GenerationRow, explain_generation
from .many.run import explain_many
from .results.comparison import Comparison
from .results.explanation import Explanation
from .results.layer_flow import LayerFlow
from .results.ledger import Ledger
from .results.relevance import Relevance

__version__: str

__all__ = [
    "AdditivityWarning",
    "AlreadyInstrumentedError",
    "AnswerExplanation",
    "ArgumentError",
    "AttentionMaps",
    "Audit",
    "Circuit",
    "Comparison",
    "CompiledModelError",
    "ConstantsWarning",
    "Contrast",
    "ConvergenceWarning",
    "Coverage",
    "Explanation",
    "GenerationExplanation",
    "GenerationInterrupted",
    "GenerationRow",
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
    "SecondOrderError",
    "TargetError",
    "TextError",
    "UnknownTokensWarning",
    "UnruledError",
    "UnruledWarning",
    "UnsupportedModelError",
    "WeightGradientWarning",
    "captum",
    "compare",
    "explain",
    "explain_answer",
    "explain_generation",
    "explain_many",
    "explainers",
    "faithfulness",
    "find_circuit",
    "freeze",
    "heads",
    "instrument",
    "intervene",
    "layer_flow",
    "patching",
    "register",
    "rescale",
    "rules",
    "secant",
    "sentiment",
    "slope",
    "split",
    "words",
]
