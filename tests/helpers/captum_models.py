"""What the tests of the Captum classes share: toy networks, and a tiny tokenizer."""

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from lrp_hooks import LeafRule
from small_models import hugging_face
from strategies import reseed

WORDS = ("[UNK]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran", "to", "home")


def tokenizer():
    """Return a tokenizer of eleven words, one token each."""
    model = WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    made = Tokenizer(model)
    made.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", clean_up_tokenization_spaces=False
    )


def writer(family="llama"):
    """Return a language model over `WORDS`, and its tokenizer."""
    return hugging_face(family, torch.float64), tokenizer()


def classifier(bias=True, dtype=torch.float64):
    """Return a network of three linear layers between which activations bend."""
    with torch.random.fork_rng():
        reseed(0)
        return nn.Sequential(
            nn.Linear(6, 8, bias=bias),
            nn.GELU(),
            nn.Linear(8, 8, bias=bias),
            nn.Tanh(),
            nn.Linear(8, 3, bias=bias),
        ).to(dtype)


class Toy(nn.Module):
    """Three inputs, three hidden units of weight 2, one output of weight 3."""

    def __init__(self, activation=None, inplace=False):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.bend = activation or nn.ReLU(inplace=inplace)
        self.last = nn.Linear(3, 1, bias=False)
        nn.init.constant_(self.first.weight, 2.0)
        nn.init.constant_(self.last.weight, 3.0)

    def forward(self, x):
        return self.last(self.bend(self.first(x)))


class Methods(nn.Module):
    """A model whose users also call a method that bends relevance by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4).double(), nn.Linear(4, 2).double()

    def forward(self, x):
        return self.last(nn.functional.gelu(self.first(x)))

    def gated(self, x):
        return self.last(nn.functional.silu(self.first(x)))


class Gated(Methods):
    """The same method as a forward."""

    def forward(self, x):
        return self.gated(x)


class Seven(LeafRule):
    """R_in = 7 R_out, which no gradient of the identity would give."""

    def relevance(self, module, x, y, grad):
        return 7 * grad
