"""The named rule sets, as data."""

from __future__ import annotations

from dataclasses import replace

from ..engine import Rule, RuleSet
from .activation import Activation
from .attention import Attention
from .embedding import Embedding
from .linear import Zero
from .normalization import Normalization
from .pooling import Pooling
from .product import Product
from .recurrence import Recurrence

__all__: list[str] = []

CONSERVATIVE = RuleSet(
    name="conservative",
    attention=Attention(0.0),
    normalization=Normalization(),
    activation=Activation(),
    product=Product(),
    linear=Zero(),
    pooling=Pooling(),
    embedding=Embedding(),
    recurrence=Recurrence(),
).save_as("conservative")
CONSERVATIVE.override(product=Product(freeze_activated=True)).save_as("cp-lrp")
CONSERVATIVE.override(attention=Attention(0.5)).save_as("attnlrp")

GRADIENT = CONSERVATIVE.override(
    attention=Attention(None),
    normalization=Normalization(freeze_scale=False),
    activation=Activation(unchanged=False),
    product=Product(split=False),
    recurrence=Recurrence(unrolled=False),
)
AH: dict[str, Rule] = {"attention": Attention(0.0)}
LN: dict[str, Rule] = {"normalization": Normalization()}
PUBLISHED: dict[str, dict[str, Rule]] = {
    "gradient": {},
    "ah": AH,
    "ln": LN,
    "ah+ln": AH | LN,
}
for name, families in PUBLISHED.items():
    rules = replace(GRADIENT.override(**families), complete=False)
    replace(rules, registered=name != "gradient").save_as(name)
