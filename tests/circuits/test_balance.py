"""Relevance is a flow: what comes into a node goes out of it, and all is counted."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from circuit_models import BUILD, build, target
from lrp_hooks import find_circuit, instrument

SETS = ("conservative", "attnlrp")


def ledger_of(circuit):
    """Return incoming and outgoing sums by node, counted here."""
    incoming = dict.fromkeys([node.id for node in circuit.nodes], 0.0)
    outgoing = dict(incoming)
    for edge in circuit.edges:
        incoming[edge.target] += edge.flow
        outgoing[edge.source] += edge.flow
    return incoming, outgoing


def assert_balances(circuit, tolerance):
    incoming, outgoing = ledger_of(circuit)
    scale = max(abs(node.relevance) for node in circuit.nodes)
    for node in circuit.nodes:
        if node.kind not in {"token", "constant"} and node.id != "rest:inputs":
            assert abs(incoming[node.id] - node.relevance) <= tolerance * scale
        if node.kind != "output":
            assert abs(outgoing[node.id] - node.relevance) <= tolerance * scale
    assert circuit.balance <= 10 * tolerance


@pytest.mark.parametrize("kinds", [("neurons",), ("neurons", "heads")])
@pytest.mark.parametrize("family", BUILD)
def test_every_node_balances_in_every_family(family, kinds):
    model, batch = build(family)
    for rules in SETS:
        # Kernels of attnlrp's soft caps and routers are in float32 whatever comes.
        loose = rules == "attnlrp" and family in {"gemma2", "mixtral", "gpt_oss"}
        circuit = find_circuit(
            model, batch, target(family), nodes=kinds, share=0.5, rules=rules
        )
        assert_balances(circuit, 1e-6 if loose else 1e-10)
        with instrument(model, rules) as lrp:
            whole = lrp.attribute(batch, target(family))
        tokens = sum(n.relevance for n in circuit.nodes if n.kind == "token")
        constants = circuit.node("constant").relevance
        scores = whole.scores if isinstance(whole.scores, torch.Tensor) else None
        assert tokens == pytest.approx(float(scores.sum()), abs=1e-9)
        terms = abs(tokens) + abs(constants)
        gap = abs(tokens + constants - float(whole.output))
        assert gap <= (1e-6 if loose else 1e-10) * max(terms, abs(circuit.output))


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_single_precision_balances_too(family):
    model, batch = build(family, dtype=torch.float32)
    for impl in ("eager", "grouped_mm", "batched_mm"):
        if family == "mixtral":
            model.config._experts_implementation = impl
        circuit = find_circuit(model, batch, 1, share=0.6, nodes=("neurons", "heads"))
        assert_balances(circuit, 1e-5)


@given(st.data())
def test_random_nets_balance(data):
    widths = data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=5))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    activation = data.draw(st.sampled_from([nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU]))
    bias = data.draw(st.booleans())
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o, bias=bias), activation()]
    net = nn.Sequential(*layers[:-1], nn.Identity()).double()
    x = torch.randn(1, widths[0]).double()
    share = data.draw(st.floats(0.1, 1.0))
    with instrument(net) as lrp:
        alive = bool(lrp.attribute(x, target=0).values.abs().sum() > 0)
    if alive:
        circuit = find_circuit(net, x, 0, share=share)
        assert_balances(circuit, 1e-10)
        assert circuit.output == pytest.approx(float(net(x)[0, 0].detach()))


def test_a_rule_set_that_loses_relevance_says_what_was_lost():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, rules="gradient", share=0.5)
    leak = circuit.node("leak")
    assert leak.kind == "constant" and leak.relevance != 0
    assert_balances(circuit, 1e-5)


def test_node_relevance_is_what_attribute_says_of_the_module_there():
    model, batch = build("gpt2")  # the activation before c_proj is a module
    circuit = find_circuit(model, batch, 1, share=1.0)
    names = [f"transformer.h.{i}.mlp.act" for i in range(2)]
    with instrument(model) as lrp:
        layers = lrp.attribute(batch, 1, layers=names).layers
    neurons = [node for node in circuit.nodes if node.kind == "neuron"]
    assert len(neurons) == 2 * 5 * 12
    for node in neurons:
        there = layers[names[node.layer]][0, node.position, node.index]
        assert node.relevance == pytest.approx(float(there), abs=1e-12)


def test_head_relevance_is_what_attribute_says_of_heads():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, share=1.0, nodes=("heads",))
    with instrument(model) as lrp:
        layers = list(lrp.attribute(batch, 1, layers="heads").layers.values())
    for node in circuit.kept:
        there = layers[node.layer][0, node.index, node.position].sum()
        assert node.relevance == pytest.approx(float(there), abs=1e-12)


def test_several_examples_are_the_mean_of_single_ones():
    model, first = build("llama")
    ids = torch.cat([first["input_ids"], first["input_ids"].flip(1)])
    both = find_circuit(model, {"input_ids": ids}, [1, 2], share=1.0)
    alone = [
        find_circuit(model, {"input_ids": ids[b : b + 1]}, b + 1, share=1.0)
        for b in range(2)
    ]
    assert both.balance < 1e-10
    flows = [{(e.source, e.target): e.flow for e in c.edges} for c in alone]
    for edge in both.edges:
        key = edge.source, edge.target
        mean = sum(each.get(key, 0.0) for each in flows) / 2
        assert edge.flow == pytest.approx(mean, abs=1e-12)


def test_labels_join_positions():
    model, batch = build("llama")
    labels = [["a", "b", "b", "c", "a"]]
    joined = find_circuit(model, batch, 1, share=1.0, positions=labels)
    apart = find_circuit(model, batch, 1, share=1.0)
    assert joined.tokens == ["a", "b", "c"] and joined.balance < 1e-10
    b = sum(apart.node(f"token:{i}").relevance for i in (1, 2))
    assert joined.node("token:1").relevance == pytest.approx(b)
    one = sum(apart.node(f"neuron:0:{i}:3").relevance for i in (1, 2))
    assert joined.node("neuron:0:1:3").relevance == pytest.approx(one)
