"""How a model is hooked, so that autograd differentiates its linearised twin.

What stands here is what a rule may use: the built-in ones use nothing else.
"""

from .autograd import (
    carries,
    freeze,
    on_gradient,
    pass_through,
    rescale,
    scale_gradient,
    secant_backward,
    slope,
    split,
)
from .bypass import mark_alias, owner_of
from .constancy import drop_history
from .functions import in_place, spellings, table
from .kept import Kept, saved_unseen
from .notes import (
    report,
    role,
    set_role,
    trainable,
    under_rules,
    watch_gate,
    watch_source,
)
from .registry import register, register_shape
from .rule import FunctionTable, LeafRule, Rule, ScopeRule
from .ruleset import RuleSet, add_functions
from .splicing import splice
from .stack import active_scope
from .storage import is_distributed

__all__ = [
    "FunctionTable",
    "Kept",
    "LeafRule",
    "Rule",
    "RuleSet",
    "ScopeRule",
    "active_scope",
    "add_functions",
    "carries",
    "drop_history",
    "freeze",
    "in_place",
    "is_distributed",
    "mark_alias",
    "on_gradient",
    "owner_of",
    "pass_through",
    "register",
    "register_shape",
    "report",
    "rescale",
    "role",
    "saved_unseen",
    "scale_gradient",
    "secant_backward",
    "set_role",
    "slope",
    "spellings",
    "splice",
    "split",
    "table",
    "trainable",
    "under_rules",
    "watch_gate",
    "watch_source",
]
