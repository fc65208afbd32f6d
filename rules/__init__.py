"""The built-in rules, one file a layer family: the first plug-in of the library."""

from . import (
    activation,
    attention,
    embedding,
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
    "linear",
    "normalization",
    "pooling",
    "product",
    "quantization",
    "recurrence",
    "rulesets",
    "structure",
]
