"""Tiny language models of every shape, and a tokenizer of a few words."""

from types import SimpleNamespace

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from strategies import reseed

WORDS = (
    "<s> </s> the capital of France is Paris London a b c d un do undo . one two three"
).split()
VOCABULARY = len(WORDS)
SHARED_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
OWN_SIZES = {
    "Qwen3": {"head_dim": 4},
    "Gemma": {"head_dim": 4},
    "Gemma2": {"head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 3},
    "Mamba": {"state_size": 3, "time_step_rank": 2},
    "GPTJ": {"rotary_dim": 2},
}
SHAPES = ("Llama", "GPT2", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Mamba", "GPTJ")


def language_model(shape="Llama", dtype=torch.float64, seed=0, **settings):
    kwargs = {**SHARED_SIZES, **OWN_SIZES.get(shape, {}), **settings}
    config = getattr(transformers, f"{shape}Config")(**kwargs)
    head = "LMHeadModel" if shape == "GPT2" else "ForCausalLM"
    reseed(seed)
    model = getattr(transformers, shape + head)(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    # Text is written to the end in every test that does not want it to end.
    model.generation_config.eos_token_id = None
    return model.to(dtype).eval()


def word_tokenizer(words=WORDS):
    """Split at white space; every word is a token, an unknown one is the first."""
    table = {word: i for i, word in enumerate(words)}
    core = Tokenizer(models.WordLevel(table, unk_token=words[0]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=words[0], eos_token=words[1]
    )


def merging_tokenizer():
    """Byte pairs of a few letters: "un" and "do" are one token when joined."""
    letters = ["<s>", "</s>", "u", "n", "d", "o", "a", "Ġ"]
    merges = [("u", "n"), ("d", "o"), ("un", "do"), ("Ġ", "a")]
    table = {letter: i for i, letter in enumerate(letters)}
    for pair in merges:
        table["".join(pair)] = len(table)
    core = Tokenizer(models.BPE(table, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>"
    )


class Bag(nn.Module):
    """The sum of its words; no blocks, no attention, one function without a rule."""

    def __init__(self):
        super().__init__()
        reseed(0)
        self.words = nn.Embedding(VOCABULARY, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids):
        bent = torch.special.i0(self.words(input_ids).sum(1))
        return SimpleNamespace(logits=self.head(bent))
