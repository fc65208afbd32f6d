"""Encoder-decoders that attention is tested on, and the maps that models give."""

from __future__ import annotations

import torch
import transformers as hf

from decompx_models import batch
from oracles import randomised
from strategies import reseed

SEQ2SEQ = {
    "vocab_size": 30,
    "d_model": 16,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
T5 = {**SEQ2SEQ, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
BART = {
    **SEQ2SEQ,
    "bos_token_id": 1,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 20,
}


def seq2seq(family, kernel="eager"):
    """Return a small encoder-decoder, without dropout."""
    name = {"T5": "T5", "Bart": "Bart"}[family]
    config = getattr(hf, f"{name}Config")(**{"T5": T5, "Bart": BART}[family])
    config._attn_implementation = kernel
    with torch.random.fork_rng():
        reseed(0)
        model = getattr(hf, f"{name}ForConditionalGeneration")(config).double().eval()
    return randomised(model, 1, 0.2)


def seq2seq_batch():
    inputs = batch()
    decoder = torch.tensor([[2, 7, 9, 4], [2, 5, 6, 8]])
    return {**inputs, "decoder_input_ids": decoder}


def eager_maps(model, inputs):
    """Return what an eager model says itself, in the order of its calls."""
    with torch.no_grad():
        out = model(**inputs, output_attentions=True)
    if not hasattr(out, "cross_attentions") or out.get("encoder_attentions") is None:
        return list(out.attentions)
    pairs = zip(out.decoder_attentions, out.cross_attentions, strict=True)
    return [*out.encoder_attentions, *(one for pair in pairs for one in pair)]
