"""Relevance in Captum's own spelling, usable wherever Captum takes such a class.

Outside `instrument` these classes instrument the model for one call; inside they reuse
what is in force. The model runs in eval mode, attributions carry no graph, and callers
may be under ``torch.no_grad()``.
"""

from .llm import LLMRelevance
from .relevance import ConservativeRelevance, LayerRelevance, NeuronRelevance

__all__ = [
    "ConservativeRelevance",
    "LLMRelevance",
    "LayerRelevance",
    "NeuronRelevance",
]
