"""The built-in rules, one file a layer family: the first plug-in of the library."""

from . import (
    activation,
    attention,
    embedding,
    frozen,
    linear,
    normalization,
    pooling,
    product,
    quantization,
    recurrence,
    rulesets,
    structure,
)
from .activation import Activation
from .attention import Attention
from .embedding import Embedding
from .frozen import Frozen
from .linear import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus
from .normalization import Normalization
from .pooling import Pooling
from .product import Product
from .quantization import QuantizedLinear
from .recurrence import Recurrence

__all__ = [
    "Activation",
    "AlphaBeta",
    "Attention",
    "Embedding",
    "Epsilon",
    "Flat",
    "Frozen",
    "Gamma",
    "Normalization",
    "Pooling",
    "Product",
    "QuantizedLinear",
    "Recurrence",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "activation",
    "attention",
    "embedding",
    "frozen",
    "linear",
    "normalization",
    "pooling",
    "product",
    "quantization",
    "recurrence",
    "rulesets",
    "structure",
]
