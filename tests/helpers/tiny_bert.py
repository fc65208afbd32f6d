"""The smallest BERT with any head, in float64, with random weights of some size."""

import torch
from transformers import BertConfig


def tiny_bert(kind, seed=0, **settings):
    """A model of a class of transformers, in eval mode."""
    torch.default_generator.manual_seed(seed)
    config = BertConfig(
        vocab_size=6000,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.4,
        **settings,
    )
    return kind(config).double().eval()
