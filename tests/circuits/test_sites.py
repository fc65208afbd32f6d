"""Sites are found by what a call shows, whatever the modules are called."""

import warnings

import pytest
import torch
from lrp_hooks.rules import Gamma
from torch import nn
from torch.nn import functional as F

from circuit_models import BUILD, build, target
from lrp_hooks import ArgumentError, RuleSet, find_circuit

NEURONS = {
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "llama": "model.layers.{}.mlp.down_proj",
    "qwen3": "model.layers.{}.mlp.down_proj",
    "gemma2": "model.layers.{}.mlp.down_proj",
    "gemma3": "model.layers.{}.mlp.down_proj",
    "bert": "bert.encoder.layer.{}.output.dense",
    "vit": "vit.layers.{}.mlp.fc2",
    "mixtral": "model.layers.{}.mlp.experts",
    "gpt_oss": "model.layers.{}.mlp.experts",
    "encoder": "layers.{}.linear2",
}


@pytest.mark.parametrize("family", NEURONS)
def test_neurons_and_heads_of_every_layer_are_found(family):
    model, batch = build(family)
    circuit = find_circuit(
        model, batch, target(family), nodes=("neurons", "heads"), share=1.0
    )
    neurons = {n.site.module for n in circuit.nodes if n.kind == "neuron"}
    assert neurons == {NEURONS[family].format(i) for i in range(2)}
    heads = [n for n in circuit.nodes if n.kind == "head"]
    assert {n.index for n in heads} == set(range(4))
    assert {n.layer for n in heads} == {0, 1}


def test_both_sides_of_an_encoder_decoder_are_found():
    model, batch = build("t5")
    circuit = find_circuit(model, batch, 1, share=1.0)
    sides = [n.site.module.split(".")[0] for n in circuit.nodes if n.kind == "neuron"]
    assert sides.count("encoder") == 2 * 5 * 12
    assert sides.count("decoder") == 2 * 2 * 12


def test_a_decoders_positions_are_no_tokens_of_the_encoder():
    model, batch = build("t5")
    batch = {**batch, "decoder_input_ids": torch.tensor([[0, 5, 6, 7, 8]])}
    labels = [["a", "b", "b", "c", "d"]]
    circuit = find_circuit(model, batch, 1, share=1.0, positions=labels)
    assert circuit.balance < 1e-10 and circuit.faithfulness() == pytest.approx(1)
    for node in circuit.kept:
        decodes = node.site.module.startswith("decoder")
        assert (node.token is None) == decodes
    assert {n.position for n in circuit.kept if n.token} == set(range(4))
    assert {n.position for n in circuit.kept if not n.token} == set(range(5))


class Functional(nn.Module):
    """Both layers are functions on the module's own weights, its input in place."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(10, 4)
        self.a, self.b = (
            nn.Parameter(torch.randn(6, 4)),
            nn.Parameter(torch.randn(4, 6)),
        )
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        x = self.table(ids)
        return self.head(x + F.linear(F.relu(F.linear(x, self.a)), self.b)).sum(1)


def test_functions_on_weights_count_as_layers():
    model, ids = Functional().double(), torch.tensor([[1, 2, 3]])
    circuit = find_circuit(model, ids, 0, share=1.0)
    assert len(circuit.kept) == 3 * 6 and circuit.balance < 1e-12
    x = model.table(ids)
    active = torch.relu(x @ model.a.T)[0].detach()
    for node in circuit.kept:
        wanted = float(active[node.position, node.index])
        assert node.activation == pytest.approx(wanted)
    assert circuit.faithfulness() == pytest.approx(1)


class Residual(nn.Module):
    """What was added in place to a linear layer's output is no neuron."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.first(x)
        h += x
        return self.second(torch.relu(h))


def test_a_residual_stream_is_no_layer_of_neurons():
    with pytest.raises(ArgumentError, match="no feed-forward layer"):
        find_circuit(Residual(), torch.ones(1, 4), 0)


@pytest.mark.parametrize("impl", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_neurons_are_the_same_by_every_implementation(family, impl):
    model, batch = build(family, dtype=torch.float32)
    model.config._experts_implementation = "eager"
    eager = find_circuit(model, batch, 1, share=1.0)
    model.config._experts_implementation = impl
    found = find_circuit(model, batch, 1, share=1.0)
    values = {n.id: (n.relevance, n.activation) for n in eager.kept}
    assert values.keys() == {n.id for n in found.kept}
    for node in found.kept:
        relevance, activation = values[node.id]
        assert node.relevance == pytest.approx(relevance, abs=1e-5)
        assert node.activation == pytest.approx(activation, abs=1e-5)


def test_an_experts_neuron_is_what_its_weights_say():
    model, batch = build("mixtral")
    given = {}
    experts = model.model.layers[0].mlp.experts
    hook = experts.register_forward_pre_hook(
        lambda module, args: given.update(x=args[0].detach(), which=args[1])
    )
    with torch.no_grad():
        model(**batch)
    hook.remove()
    circuit = find_circuit(model, batch, 1, share=1.0)
    nodes = [n for n in circuit.kept if n.layer == 0]
    assert len(nodes) == 5 * 2 * 12  # two experts a token
    for node in nodes:
        expert, unit = divmod(node.index, 12)
        assert expert in given["which"][node.position]
        gate, up = (experts.gate_up_proj[expert] @ given["x"][node.position]).chunk(2)
        wanted = float((F.silu(gate) * up)[unit].detach())
        assert node.activation == pytest.approx(wanted)


def test_quantised_layers_and_adapters_are_layers_too():
    model, batch = build("bert", dtype=torch.float32)
    names = {NEURONS["bert"].format(i) for i in range(2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    circuit = find_circuit(small, batch, 1, share=1.0)
    assert {n.site.module for n in circuit.kept} == names
    assert circuit.balance < 1e-5
    peft = pytest.importorskip("peft")
    model, batch = build("llama")
    config = peft.LoraConfig(target_modules=["down_proj", "up_proj"], r=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = peft.get_peft_model(model, config).double().eval()
    for parameter in tuned.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    circuit = find_circuit(tuned, batch, 1, share=1.0)
    assert len(circuit.kept) == 2 * 5 * 12 and circuit.balance < 1e-10
    assert circuit.faithfulness() == pytest.approx(1)


def test_other_linear_rules_balance_too():
    model, batch = build("gpt2")
    rules = RuleSet.named("conservative").override(linear=Gamma(0.1))
    assert find_circuit(model, batch, 1, share=0.5, rules=rules).balance < 1e-10


def test_every_family_is_tried():
    assert set(NEURONS) | {"t5"} == set(BUILD)
