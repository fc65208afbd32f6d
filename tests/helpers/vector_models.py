"""Models of every family whose hidden states are decomposed, and what they take."""

import torch
import transformers

from strategies import reseed

TEXT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
T5 = {
    "vocab_size": 40,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
OPT = {"ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 32}
IMAGE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}
CAUSAL = "ForCausalLM"
# Configuration, model, settings, the blocks whose output is decomposed.
FAMILIES = {
    "GPT2": ("GPT2", "GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
    "Llama": ("Llama", "Llama" + CAUSAL, GROUPED),
    "Qwen2": ("Qwen2", "Qwen2" + CAUSAL, GROUPED),
    "Qwen3": ("Qwen3", "Qwen3" + CAUSAL, GROUPED),
    "Gemma2": ("Gemma2", "Gemma2" + CAUSAL, GROUPED),
    "Gemma3": ("Gemma3Text", "Gemma3" + CAUSAL, GROUPED),
    "Mistral": ("Mistral", "Mistral" + CAUSAL, GROUPED),
    "Mixtral": ("Mixtral", "Mixtral" + CAUSAL, {**GROUPED, "num_local_experts": 2}),
    "OPT": ("OPT", "OPT" + CAUSAL, {**TEXT, **OPT}),
    "GPTNeoX": ("GPTNeoX", "GPTNeoX" + CAUSAL, TEXT),
    "Falcon": ("Falcon", "Falcon" + CAUSAL, TEXT),
    "T5": ("T5", "T5ForConditionalGeneration", T5),
    "ViT": ("ViT", "ViTForImageClassification", IMAGE),
    "Bert": ("Bert", "BertForSequenceClassification", TEXT),
}
BLOCKS = {
    "GPT2": "transformer.h.{}",
    "OPT": "model.decoder.layers.{}",
    "GPTNeoX": "gpt_neox.layers.{}",
    "Falcon": "transformer.h.{}",
    "T5": "decoder.block.{}",
    "ViT": "vit.layers.{}",
    "Bert": "bert.encoder.layer.{}",
}
BIASED = ("GPT2", "Qwen2", "OPT", "GPTNeoX", "Falcon", "ViT", "Bert")
"""Those that have biases; of the others the tokens have everything."""


def vector_model(family, dtype=torch.float64, seed=0):
    config, name, settings = FAMILIES[family]
    sizes = {**settings, "vocab_size": 40} if family == "GPT2" else settings
    config = getattr(transformers, f"{config}Config")(**sizes)
    config._experts_implementation = "eager"  # the others take no float64
    with torch.random.fork_rng():
        reseed(seed)
        model = getattr(transformers, name)(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def vector_batch(family, length=5, examples=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    if family == "ViT":
        return {
            "pixel_values": torch.randn(examples, 3, 8, 8, generator=generator).double()
        }
    ids = torch.randint(3, 40, (examples, length), generator=generator)
    if family != "T5":
        return {"input_ids": ids}
    written = torch.randint(3, 40, (examples, 3), generator=generator)
    return {"input_ids": ids, "decoder_input_ids": written}


def blocks_of(family):
    return [BLOCKS.get(family, "model.layers.{}").format(n) for n in range(2)]


def hidden_states(model, inputs, names):
    """Return what modules of the plain model return."""
    found = {}

    def keep(name):
        def hook(module, args, output):
            first = output[0] if isinstance(output, tuple) else output
            found[name] = first.detach()

        return hook

    hooks = [model.get_submodule(n).register_forward_hook(keep(n)) for n in names]
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return found
