"""Neurons and residual streams: every cut of a model holds the whole output."""

from functools import partial

import pytest
import torch

from lrp_hooks import instrument
from oracles import close
from small_models import make

MODELS = [f"{f} {k}" for f in ("bert", "gpt2", "llama") for k in ("eager", "sdpa")]
BLOCKS = {
    "bert": "bert.encoder.layer.{}",
    "gpt2": "transformer.h.{}",
    "llama": "model.layers.{}",
}
near = partial(close, tolerance=1e-7)
NEURONS = {  # what holds them, what they are written by
    "bert": (".intermediate", ".output.dense"),
    "gpt2": (".mlp.act", ".mlp.c_proj"),
    "llama": (".mlp.act_fn", ".mlp.down_proj"),
}
BELOW = ("embeddings.", "wpe", "wte", "embed_tokens")


def is_below(source, block, layer):
    """Tell whether a source enters at or below the output of a block."""
    if any(word in source for word in BELOW):
        return True
    stem = block.partition("{}")[0]
    if not source.startswith(stem):
        return False
    return int(source.removeprefix(stem).partition(".")[0]) <= layer


@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp"])
@pytest.mark.parametrize("name", MODELS)
def test_a_residual_stream_holds_what_is_below_and_owes_what_is_above(name, rules):
    model, inputs = make(name, torch.float64)
    block = BLOCKS[name.partition(" ")[0]]
    layers = [block.format(layer) for layer in range(2)]
    with instrument(model, rules) as lrp:
        found = lrp.attribute(inputs, 1, layers=layers)
    sources = found.ledger.sources
    for layer, stream in enumerate(layers):
        below = [v for n, v in sources.items() if is_below(n, block, layer)]
        above = [v for n, v in sources.items() if not is_below(n, block, layer)]
        held = found.layers[stream].sum((1, 2))
        assert held.abs().max() > 1e-3
        near(held, found.ledger.inputs + sum(below, torch.zeros(2).double()))
        near(held + sum(above, torch.zeros(2).double()), found.output)


@pytest.mark.parametrize("name", MODELS)
def test_neurons_have_what_they_write(name):
    model, inputs = make(name, torch.float64)
    family = name.partition(" ")[0]
    for layer in range(2):
        holds, writes = (
            BLOCKS[family].format(layer) + suffix for suffix in NEURONS[family]
        )
        with instrument(model) as lrp:
            found = lrp.attribute(inputs, 1, layers=[holds, writes])
        neurons = found.layers[holds]
        width = model.get_submodule(writes).weight.numel() // 8
        assert neurons.shape == (2, 5, width)
        bias = found.ledger.positions.get(f"{writes}.bias", 0.0)
        written = found.layers[writes].sum(-1) - bias
        # A gated unit shares evenly between the activation and what it multiplies.
        share = 2 if family == "llama" else 1
        near(share * neurons.sum(-1), written)
        assert neurons.abs().max() > 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_a_neuron_is_worth_its_column_of_what_it_is_written_by(name):
    model, inputs = make(name, torch.float64)
    family = name.partition(" ")[0]
    holds, writes = (BLOCKS[family].format(1) + suffix for suffix in NEURONS[family])
    given = []
    handle = model.get_submodule(writes).register_forward_pre_hook(
        lambda module, args: given.append(args[0].detach())
    )
    with torch.no_grad():
        outputs = model.get_submodule(writes).register_forward_hook(
            lambda module, args, output: given.append(output.detach())
        )
        model(**inputs)
    handle.remove()
    outputs.remove()
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 1, layers=[holds, writes])
    activation, output = given[:2]
    weight = model.get_submodule(writes).weight.detach()
    rows = weight if family == "gpt2" else weight.T  # [neurons, D]
    gradient = found.layers[writes] / output
    share = 2 if family == "llama" else 1
    near(found.layers[holds] * share, activation * (gradient @ rows.T))
