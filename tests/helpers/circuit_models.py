"""Small random models of many families, with what they are called with."""

import torch
import transformers as tf
from torch import nn

VOCABULARY = 30
_SIZES = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2}
_PLAIN = {"vocab_size": VOCABULARY, **_SIZES, "num_attention_heads": 4}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
_HEADED = {**_GROUPED, "head_dim": 4}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

BUILD = {
    "gpt2": lambda: tf.GPT2LMHeadModel(
        tf.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_inner=12,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**_GROUPED)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**_HEADED)),
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**_HEADED)),
    "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**_HEADED)),
    "bert": lambda: tf.BertForSequenceClassification(tf.BertConfig(**_PLAIN)),
    "vit": lambda: tf.ViTForImageClassification(
        tf.ViTConfig(**_SIZES, num_attention_heads=4, image_size=8, patch_size=4)
    ),
    "t5": lambda: tf.T5ForConditionalGeneration(
        tf.T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_ff=12,
            d_kv=4,
            num_layers=2,
            num_heads=4,
        )
    ),
    "mixtral": lambda: tf.MixtralForCausalLM(tf.MixtralConfig(**_GROUPED, **_EXPERTS)),
    "gpt_oss": lambda: tf.GptOssForCausalLM(tf.GptOssConfig(**_HEADED, **_EXPERTS)),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 12, batch_first=True), 2
    ),
}


def build(family, seed=0, dtype=torch.float64):
    """Build a random model, its biases too, and what it is called with."""
    torch.manual_seed(seed)
    model = BUILD[family]().eval().to(dtype)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if hasattr(getattr(model, "config", None), "_experts_implementation"):
        model.config._experts_implementation = "eager"  # the others take no float64
    return model, inputs(family, seed, dtype)


def inputs(family, seed=0, dtype=torch.float64, tokens=5):
    generator = torch.Generator().manual_seed(seed)
    if family == "vit":
        pixels = torch.randn(1, 3, 8, 8, generator=generator, dtype=dtype)
        return {"pixel_values": pixels}
    if family == "encoder":
        return torch.randn(1, tokens, 16, generator=generator, dtype=dtype)
    ids = torch.randint(3, VOCABULARY, (1, tokens), generator=generator)
    if family == "t5":
        return {"input_ids": ids, "decoder_input_ids": torch.tensor([[0, 5]])}
    return {"input_ids": ids}


def target(family):
    """Return what is explained: of hidden states, the sum of some."""
    return (lambda out: out[:, -1, :3].sum(1)) if family == "encoder" else 1
