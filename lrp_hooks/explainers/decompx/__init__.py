"""DecompX (Modarressi et al., ACL 2023): decomposition vectors, and their short cut."""

from .explainer import DecompX
from .explanation import DecompXExplanation
from .sources import Heads, Neurons, Spans, Subspace

__all__ = ["DecompX", "DecompXExplanation", "Heads", "Neurons", "Spans", "Subspace"]
