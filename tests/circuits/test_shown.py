"""Circuits handed on: files, tables, graphs, pages."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from circuit_models import build
from generation_models import language_model, word_tokenizer
from lrp_hooks import ArgumentError, Circuit, Contrast, find_circuit, intervene
from lrp_hooks.sentiment import sentiment_model

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
# Written from the fields that circuit-tracer's pages read.
SCHEMA = {
    "type": "object",
    "required": ["metadata", "qParams", "nodes", "links"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["slug", "scan", "transcoder_list", "prompt_tokens", "prompt"],
            "properties": {
                "slug": TEXT,
                "scan": TEXT,
                "transcoder_list": {"type": "array", "items": TEXT},
                "prompt_tokens": {"type": "array", "items": TEXT},
                "prompt": TEXT,
                "schema_version": WHOLE,
            },
        },
        "qParams": {
            "type": "object",
            "required": ["pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"],
            "properties": {
                "pinnedIds": {"type": "array", "items": TEXT},
                "supernodes": {"type": "array", "items": {"type": "array"}},
                "linkType": TEXT,
                "clickedId": TEXT,
                "sg_pos": TEXT,
            },
        },
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    "node_id",
                    "jsNodeId",
                    "feature",
                    "layer",
                    "ctx_idx",
                    "feature_type",
                    "clerp",
                ],
                "properties": {
                    "node_id": TEXT,
                    "jsNodeId": TEXT,
                    "feature": WHOLE,
                    "layer": TEXT,
                    "ctx_idx": WHOLE,
                    "reverse_ctx_idx": WHOLE,
                    "run_idx": WHOLE,
                    "feature_type": {
                        "enum": [
                            "embedding",
                            "cross layer transcoder",
                            "mlp reconstruction error",
                            "logit",
                        ]
                    },
                    "token_prob": NUMBER,
                    "is_target_logit": {"type": "boolean"},
                    "clerp": TEXT,
                },
            },
        },
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source", "target", "weight"],
                "properties": {"source": TEXT, "target": TEXT, "weight": NUMBER},
            },
        },
    },
}
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
}


def misfit(value, schema, where="$"):
    """Return where a value does not fit the part of JSON Schema that is used here."""
    if "enum" in schema:
        return None if value in schema["enum"] else where
    if not isinstance(value, KINDS[schema["type"]]):
        return where
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where}.{name}"
    parts = []
    if isinstance(value, dict):
        known = schema.get("properties", {})
        parts = [(value[n], known[n], f"{where}.{n}") for n in known if n in value]
    elif isinstance(value, list) and "items" in schema:
        parts = [(v, schema["items"], f"{where}[{i}]") for i, v in enumerate(value)]
    return next(filter(None, (misfit(*part) for part in parts)), None)


@pytest.fixture(scope="module")
def circuit():
    model, batch = build("llama")
    return find_circuit(model, batch, 1, nodes=("neurons", "heads"), share=0.5)


def test_a_circuit_survives_its_file(circuit, tmp_path):
    for name in ("c.json", "c.safetensors"):
        circuit.save(tmp_path / name)
        loaded = Circuit.load(tmp_path / name)
        assert loaded.nodes == circuit.nodes and loaded.edges == circuit.edges
        assert loaded.balance == circuit.balance


def test_the_attribution_graph_fits_the_schema(circuit, tmp_path):
    circuit.to_json(tmp_path / "graph.json", slug="tiny")
    graph = json.loads((tmp_path / "graph.json").read_text())
    assert misfit(graph, SCHEMA) is None
    assert misfit({**graph, "links": [{"source": 1}]}, SCHEMA)  # the check can fail
    names = [node["node_id"] for node in graph["nodes"]]
    assert len(set(names)) == len(names) == len(circuit.nodes)
    assert {e["source"] for e in graph["links"]} <= set(names)
    weights = sum(link["weight"] for link in graph["links"])
    assert weights == pytest.approx(sum(edge.flow for edge in circuit.edges))
    assert sum(node["is_target_logit"] for node in graph["nodes"]) == 1


def test_tables_and_graphs_hold_every_node(circuit):
    networkx = pytest.importorskip("networkx")
    table, graph = circuit.to_dataframe(), circuit.to_networkx()
    assert list(table["id"]) == [node.id for node in circuit.nodes] == list(graph)
    assert graph.number_of_edges() == len(circuit.edges)
    assert networkx.is_directed_acyclic_graph(graph)
    some = circuit.kept[0]
    row = table.set_index("id").loc[some.id]
    assert row["relevance"] == some.relevance and row["module"] == some.site.module
    flow = sum(data["flow"] for *_, data in graph.in_edges(some.id, data=True))
    assert flow == pytest.approx(some.relevance)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in {"src", "href"}]
        assert not any(k.startswith("on") for k, _ in attributes)


def test_the_page_shows_every_node_and_runs_nothing(circuit):
    page = Page()
    page.feed(circuit.to_html())
    assert "script" not in page.tags and not page.links
    assert page.tags.count("rect") == len(circuit.nodes)
    text = re.sub(r"<[^>]+>", " ", circuit.to_html())
    assert f"relevance {circuit.output:+.4f}" in text


def test_hostile_tokens_are_harmless():
    model, batch = build("llama")
    labels = [["<script>alert(1)</script>", "\u202e", '"', "&", "\x00"]]
    page = find_circuit(model, batch, 1, positions=labels, max_nodes=4).to_html()
    assert "<script" not in page and "\x00" not in page and "\u202e" not in page


def test_top_tokens_are_what_the_direction_writes():
    model, batch = build("llama")
    circuit = find_circuit(model, batch, 1, max_nodes=1)
    (node,) = circuit.kept
    column = model.model.layers[node.layer].mlp.down_proj.weight[:, node.index]
    direction = column.detach() * node.activation
    logits = model.lm_head.weight.detach() @ (direction * model.model.norm.weight)
    wanted = logits.topk(4).indices.tolist()
    found = circuit.top_tokens(node, 4)
    assert [int(token) for token, _ in found] == wanted
    with pytest.raises(ArgumentError, match="neurons and heads"):
        circuit.top_tokens(circuit.node("output"))


def test_top_tokens_need_a_head():
    model, batch = build("bert")
    circuit = find_circuit(model, batch, 1, max_nodes=1)
    with pytest.raises(ArgumentError, match="no head"):
        circuit.top_tokens(circuit.kept[0])


def test_the_model_is_left_as_it_was():
    model, batch = build("mixtral")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        plain = model(**batch).logits
        model.train()
        flags = [m.training for m in model.modules()]
        find_circuit(model, batch, 1, max_nodes=5).faithfulness()
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    assert flags == [m.training for m in model.modules()]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch).logits, plain)
    assert all("_lrp" not in name for m in model.modules() for name in vars(m))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_texts_and_tokens_go_by_name():
    model, tokenizer = language_model(), word_tokenizer()
    texts = ["a b Paris", "a c Paris"]
    named = find_circuit(model, texts, Contrast("one", "c"), tokenizer=tokenizer)
    one, c = tokenizer.convert_tokens_to_ids(["one", "c"])
    ids = torch.tensor(tokenizer(texts)["input_ids"])
    numbers = find_circuit(model, {"input_ids": ids}, Contrast(one, c))
    assert named.output == pytest.approx(numbers.output)
    assert named.tokens == ["a", "b|c", "Paris"] and numbers.tokens == ["0", "1", "2"]
    assert {n.token for n in named.kept} <= set(named.tokens)
    with pytest.raises(ArgumentError, match="tokenizer"):
        find_circuit(model, texts, 1)
    with pytest.raises(ArgumentError, match="positions="):
        find_circuit(model, ["a b", "a b c"], 1, tokenizer=tokenizer)


def test_a_pair_of_texts_is_one_example():
    model, tokenizer = sentiment_model()
    pair = ("not bad at all", "not good at all")
    found = find_circuit(model, pair, tokenizer=tokenizer, max_nodes=3)
    ids = tokenizer(*pair, return_tensors="pt")
    right = find_circuit(model, dict(ids), max_nodes=3)
    assert found.meta["examples"] == 1
    assert found.output == pytest.approx(right.output, abs=1e-6)
    assert found.tokens == tokenizer.convert_ids_to_tokens(ids["input_ids"][0])


def test_more_nodes_than_a_memory_holds_are_refused():
    model, tokenizer = sentiment_model()
    with pytest.raises(ArgumentError, match=r"12,288 nodes would be kept.*max_nodes="):
        find_circuit(model, "not bad at all", tokenizer=tokenizer, share=1)


@pytest.mark.parametrize("nodes", [None, 3])
def test_nodes_of_another_type_are_refused(nodes):
    model, inputs = build("gpt2")
    with pytest.raises(ArgumentError, match="nodes=.*'neurons'"):
        find_circuit(model, inputs, 1, nodes=nodes)


def test_what_cannot_be_set_is_refused():
    model, inputs = build("gpt2")
    node = find_circuit(model, inputs, 1, max_nodes=1).kept[0]
    with (
        pytest.raises(ArgumentError, match="a mapping such as"),
        intervene(model, [node]),
    ):
        pass
    with (
        pytest.raises(ArgumentError, match="must be a number or a tensor"),
        intervene(model, {node: "a"}),
    ):
        model(**inputs)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (None, "negative"),
        (1, "positive"),
        (Contrast("positive", 0), "positive rather than negative"),
    ],
)
def test_what_is_explained_is_named(target, name, tmp_path):
    model, tokenizer = sentiment_model()
    options = {"tokenizer": tokenizer, "max_nodes": 4}
    found = find_circuit(model, "a dull film", target, **options)
    found.save(tmp_path / "circuit.json")
    for circuit in (found, Circuit.load(tmp_path / "circuit.json")):
        assert circuit.meta["targets"] == [name]
        assert f"target={name!r}" in repr(circuit)
        assert f"target  {name}" in circuit.to_terminal()
        assert name in circuit.to_html()


def test_a_token_is_named_by_the_tokenizer_and_counted_without():
    model, tokenizer = language_model(), word_tokenizer()
    found = find_circuit(model, "the capital of", 5, tokenizer=tokenizer, max_nodes=4)
    assert found.meta["targets"] == tokenizer.convert_ids_to_tokens([5])
    ids = tokenizer("the capital of", return_tensors="pt")["input_ids"]
    both = find_circuit(model, ids, [5], max_nodes=4)
    assert both.meta["targets"] == ["5"]
