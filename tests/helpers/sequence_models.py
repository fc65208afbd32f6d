"""Tiny encoder-decoders of every shape, and tokenizers that tell targets apart."""

import torch
import transformers
from tokenizers import processors
from torch.testing import assert_close

from generation_models import VOCABULARY, word_tokenizer
from lrp_hooks import Contrast, instrument
from strategies import reseed

START, END = 0, 1
CLOSE = {torch.float64: 1e-10, torch.float32: 2e-5}
SIZES = {
    "vocab_size": VOCABULARY,
    "d_model": 8,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": END,
    "decoder_start_token_id": START,
}
BART = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
    "max_position_embeddings": 24,
}
T5 = {"d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2}
WHISPER = {**BART, "num_mel_bins": 5, "max_source_positions": 7}
del WHISPER["max_position_embeddings"]
OWN_SIZES = {
    "T5": T5,
    "T5 gated": {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "Bart": {**BART, "forced_bos_token_id": None, "forced_eos_token_id": None},
    "Marian": {**BART, "forced_eos_token_id": None},
    "MBart": {**BART, "forced_eos_token_id": None},
    "Whisper": {
        **WHISPER,
        "max_target_positions": 16,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    },
}
HEADS = {"Marian": "MarianMTModel"}
TEXT_SHAPES = ("T5", "T5 gated", "Bart", "Marian", "MBart", "Bert2Bert")


def sequence_model(shape="T5", dtype=torch.float64, seed=0, **settings):
    reseed(seed)
    if shape == "Bert2Bert":
        model = _bert2bert()
    else:
        name = shape.split()[0]
        kwargs = {**SIZES, **OWN_SIZES[shape], **settings}
        config = getattr(transformers, f"{name}Config")(**kwargs)
        head = HEADS.get(name, f"{name}ForConditionalGeneration")
        model = getattr(transformers, head)(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if "bias" in name:  # of final logits, an entry of the ledger
            buffer.add_(torch.randn_like(buffer))
    # Text is written to the end in every test that does not want it to end.
    model.generation_config.eos_token_id = None
    return model.to(dtype).eval()


def _bert2bert():
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
    }
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(**sizes), transformers.BertConfig(**sizes)
    )
    config.decoder_start_token_id, config.pad_token_id = START, 0
    return transformers.EncoderDecoderModel(config)


def sequence_tokenizer(target="$A </s>"):
    """Words, and </s> behind them; targets are written by a template of their own."""
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["one"]})
    special = [
        ("<s>", 0),
        ("</s>", END),
        ("one", tokenizer.convert_tokens_to_ids("one")),
    ]

    def switch(template):
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=special
        )

    switch("$A </s>")
    tokenizer._switch_to_target_mode = lambda: switch(target)
    tokenizer._switch_to_input_mode = lambda: switch("$A </s>")
    return tokenizer


def spectrogram(dtype=torch.float64, frames=14):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 5, frames, generator=generator).to(dtype)


def assert_rows_are_prefixes(
    model, found, given, main="input_ids", rules="conservative"
):
    """Verify scores, output and every source against one `attribute` a row."""
    close = CLOSE[found.scores.dtype]
    close = {"rtol": close, "atol": close, "check_dtype": False}
    b = found.target.b if isinstance(found.target, Contrast) else None
    ids = found.target.a if b is not None else found.target
    decoder = torch.tensor([[START, *ids.tolist()]])
    width = found.encoder
    with instrument(model, rules) as lrp:
        for t, row in enumerate(found.scores):
            prefix = {**given, "decoder_input_ids": decoder[:, : 1 + t]}
            target = int(ids[t])
            target = target if b is None else Contrast(target, int(b[t]))
            alone = lrp.attribute(prefix, target, wrt=[main, "decoder_input_ids"])
            assert_close(row[:width], alone.scores[main][0], **close)
            written = row[width : width + 1 + t]
            assert_close(written, alone.scores["decoder_input_ids"][0], **close)
            assert (row[width + 1 + t :] == 0).all()
            assert_close(found.output[t], alone.output[0], **close)
            assert set(found.ledger.sources) == set(alone.ledger.sources)
            for name, value in alone.ledger.sources.items():
                source = found.ledger.sources[name][t]
                assert_close(source, value[0], **close, msg=name)
