"""Circuits put to the test: ablation, intervention, and a planted circuit."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from circuit_models import build, inputs
from lrp_hooks import ArgumentError, find_circuit, intervene

KINDS = ("neurons", "heads")


def by_hand(model, batch, keep, token):
    """Ablate neurons of a tiny Llama by hooks written here."""
    handles = []
    for i, layer in enumerate(model.model.layers):

        def zero(module, args, i=i):
            return (args[0] * keep[i],)

        handles.append(layer.mlp.down_proj.register_forward_pre_hook(zero))
    with torch.no_grad():
        value = float(model(**batch).logits[0, -1, token])
    for handle in handles:
        handle.remove()
    return value


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("family", ["llama", "bert", "mixtral", "encoder"])
def test_everything_kept_is_the_model_and_nothing_kept_is_not(family, ablation):
    model, batch = build(family)
    explained = (lambda out: out[:, -1, :3].sum(1)) if family == "encoder" else 1
    circuit = find_circuit(model, batch, explained, share=1.0, nodes=KINDS)
    assert circuit.faithfulness(ablation=ablation) == pytest.approx(1)
    if family != "mixtral":  # where other experts, of no node, are asked in turn
        assert circuit.completeness(ablation=ablation) == pytest.approx(0, abs=1e-9)


def test_faithfulness_is_what_hooks_by_hand_measure():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, max_nodes=9)
    keep = torch.zeros(2, 1, 5, 12).double()
    for node in circuit.kept:
        keep[node.layer, 0, node.position, node.index] = 1
    whole = by_hand(model, batch, torch.ones_like(keep), 1)
    none = by_hand(model, batch, torch.zeros_like(keep), 1)
    kept = (by_hand(model, batch, keep, 1) - none) / (whole - none)
    removed = (by_hand(model, batch, 1 - keep, 1) - none) / (whole - none)
    assert circuit.faithfulness() == pytest.approx(kept)
    assert circuit.completeness() == pytest.approx(removed)


def test_another_batch_can_be_measured():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, share=1.0)
    other = {"input_ids": torch.cat([inputs("llama", s)["input_ids"] for s in (3, 4)])}
    assert circuit.faithfulness(other) == pytest.approx(1)
    with pytest.raises(ArgumentError, match="positions"):
        circuit.faithfulness(inputs("llama", tokens=4))


class Planted(nn.Module):
    """One neuron of the first layer carries the second input to the output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)
        with torch.no_grad():
            self.first.weight.mul_(0.05)
            self.second.weight.mul_(0.05)
            self.first.weight[5] = torch.tensor([0.0, 4.0, 0.0])
            self.second.weight[0, 5] = 3.0

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_a_planted_neuron_is_found_first():
    model, x = Planted(), torch.ones(1, 3)
    circuit = find_circuit(model, x, 0, max_nodes=1)
    (node,) = circuit.kept
    assert (node.kind, node.layer, node.index) == ("neuron", 0, 5)
    into = {e.source: e.flow for e in circuit.edges if e.target == node.id}
    assert max(into, key=lambda name: abs(into[name])) == "token:1"
    assert circuit.faithfulness() == pytest.approx(1, abs=0.1)
    assert circuit.completeness() == pytest.approx(0, abs=0.1)


def test_interventions_set_what_they_say_and_go_away():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, max_nodes=3, nodes=KINDS)
    first, second = circuit.kept[:2]
    hooks = [dict(m._forward_pre_hooks) for m in model.modules()]
    with torch.no_grad():
        plain = model(**batch).logits
        with intervene(model, {first: first.activation}):
            same = model(**batch).logits
        with intervene(model, {first: 0.0}):
            one = model(**batch).logits
            with intervene(model, {second: torch.tensor(7.0)}):
                both = model(**batch).logits
            assert torch.equal(model(**batch).logits, one)
        with pytest.raises(ZeroDivisionError), intervene(model, {first: 1.0}):
            raise ZeroDivisionError
        assert torch.equal(model(**batch).logits, plain)
    if first.kind == "neuron":
        assert torch.allclose(same, plain)
    assert not torch.allclose(one, plain) and not torch.allclose(both, one)
    assert hooks == [dict(m._forward_pre_hooks) for m in model.modules()]


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_an_intervention_is_an_ablation_by_hand_in_batches(family):
    model, batch = build(family)
    circuit = find_circuit(model, batch, 1, share=1.0)
    node = circuit.kept[0]
    twice = {"input_ids": batch["input_ids"].repeat(3, 1)}
    values = torch.tensor([node.activation, 0.0, 2.0]).double()
    with torch.no_grad():
        plain = model(**batch).logits
        with intervene(model, {node: values}):
            several = model(**twice).logits
        for value, row in zip(values, several, strict=True):
            with intervene(model, {node: float(value)}):
                assert torch.allclose(model(**batch).logits[0], row)
    assert torch.allclose(several[0], plain[0])
    assert not torch.allclose(several[1], plain[0])


def test_nodes_of_an_intervention_must_be_the_models():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, max_nodes=1)
    node = circuit.kept[0]
    other, ids = build("gpt2")
    cases = [
        (model, {"neuron:0:1:2": 1.0}, "keys must be nodes"),
        (model, {circuit.node("output"): 1.0}, "cannot be set"),
        (other, {node: 1.0}, "no such module"),
        (model, {replace(node, layer=9): 1.0}, "layer 9"),
        (model, {replace(node, index=99): 1.0}, "index 99"),
        (model, {replace(node, position=99): 1.0}, "position 99"),
        (model, {node: torch.zeros(4)}, "shape"),
    ]
    for asked, values, message in cases:
        with pytest.raises(ArgumentError, match=message):
            with torch.no_grad(), intervene(asked, values):
                asked(**(batch if asked is model else ids))
    short = {"input_ids": batch["input_ids"][:, :1]}
    late = find_circuit(model, batch, 1, share=1.0).node("neuron:0:4:0")
    with pytest.raises(ArgumentError, match="positions"):
        with torch.no_grad(), intervene(model, {late: 1.0}):
            model(**short)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"share": True}, "share"),
        ({"max_nodes": 0}, "max_nodes"),
        ({"nodes": ("neuron",)}, "nodes"),
        ({"nodes": ()}, "nodes"),
        ({"positions": [["a"]]}, "positions"),
    ],
)
def test_bad_arguments_are_named(options, message):
    model, batch = build("llama")
    with pytest.raises(ArgumentError, match=message):
        find_circuit(model, batch, 1, **options)


def test_a_model_without_feed_forward_layers_says_so():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match="no feed-forward layer"):
        find_circuit(net, torch.ones(1, 3), 0)


def test_a_target_that_relevance_does_not_reach_is_refused():
    model, batch = build("llama")
    with pytest.raises(ValueError, match="no relevance flows"):
        find_circuit(model, batch, lambda out: out.logits[:, 0, 0].detach() * 2)


def test_unknown_ablations_and_loaded_circuits_are_refused(tmp_path):
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, max_nodes=1)
    with pytest.raises(ArgumentError, match="'zero', 'mean'"):
        circuit.faithfulness(ablation="noise")
    circuit.save(tmp_path / "circuit.json")
    loaded = type(circuit).load(tmp_path / "circuit.json")
    with pytest.raises(ArgumentError, match="find_circuit"):
        loaded.faithfulness()
