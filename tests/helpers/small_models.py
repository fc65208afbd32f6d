"""Small models of every make, each with the call that it is tested with."""

import torch
import transformers
from torch import nn

from strategies import VOCABULARY, Spec, build, noise, reseed, tokens

FAMILIES = {
    "bert": ("Bert", "ForSequenceClassification"),
    "gpt2": ("GPT2", "LMHeadModel"),
    "llama": ("Llama", "ForCausalLM"),
}


def encoder(batch_first=True, nested=False, dtype=torch.float32):
    reseed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    if nested:
        model = nn.Sequential(nn.Linear(8, 8), model, nn.Linear(8, 3))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def hugging_face(family, dtype=torch.float32, attention="sdpa", **settings):
    name, head = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        **settings,
    )
    config._attn_implementation = attention
    reseed(0)
    model = getattr(transformers, name + head)(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def convolution(dtype=torch.float32):
    reseed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 3),
    ).to(dtype)


def vector(*layers):
    reseed(0)
    return nn.Sequential(nn.Linear(4, 4), *layers, nn.Linear(4, 2)).double()


def _ids():
    mask = torch.ones(2, 5, dtype=torch.long)
    mask[1, 3:] = 0
    return {"input_ids": tokens(2, 5), "attention_mask": mask}


def _floats(*shape):
    return lambda dtype: {"input": noise(*shape, dtype=dtype)}


MODELS = {
    "grammar": (lambda t: build(Spec(class_token=True), dtype=t), lambda t: _ids()),
    "encoder": (
        lambda t: encoder(dtype=t),
        lambda t: {"src": noise(2, 5, 8, dtype=t)},
    ),
    "encoder, time first": (
        lambda t: encoder(False, dtype=t),
        lambda t: {"src": noise(5, 2, 8, dtype=t)},
    ),
    "encoder inside": (lambda t: encoder(nested=True, dtype=t), _floats(2, 5, 8)),
    "not contiguous": (
        lambda t: encoder(nested=True, dtype=t),
        lambda t: {"input": noise(5, 2, 8, dtype=t).transpose(0, 1)},
    ),
    "strided rows": (
        lambda t: nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)).to(t),
        lambda t: {"input": noise(4, 3, 16, dtype=t)[..., ::2]},
    ),
    "images": (convolution, _floats(2, 2, 4, 4)),
    **{
        f"{family} {attention}": (
            lambda t, f=family, a=attention: hugging_face(f, t, a),
            lambda t: _ids(),
        )
        for family in FAMILIES
        for attention in ("eager", "sdpa")
    },
}


def make(name, dtype=torch.float32):
    """Return a model of `MODELS` and the keyword arguments of its call."""
    model, inputs = MODELS[name]
    return model(dtype), inputs(dtype)


def logits(output):
    """Return the tensor in an output."""
    return output if isinstance(output, torch.Tensor) else output.logits


def state(model):
    """Record all that a module is made of: attributes, by identity, hooks included."""
    found = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            inner = list(value.items()) if isinstance(value, dict) else None
            found[name, key] = (id(value), inner and [(k, id(v)) for k, v in inner])
        found[name, "class"] = type(module)
        found[name, "training"] = module.training
    for name, parameter in model.named_parameters():
        found[name] = (parameter.requires_grad, parameter._version, id(parameter.grad))
        found[name, "hooks"] = (parameter._backward_hooks, dict(vars(parameter)))
    return found
