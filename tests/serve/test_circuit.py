"""A circuit asked of the explorer: the library's page, its file, and refusals."""

import json

import pytest
import torch

from explorer_server import serving
from generation_models import language_model, word_tokenizer
from lrp_hooks import find_circuit
from lrp_hooks.sentiment import sentiment_model

TEXT = "not bad at all"


@pytest.fixture(scope="module")
def asking():
    with serving(*sentiment_model()) as client:
        yield client


def circuit(client, **question):
    status, answer = client.ask("/circuit", **{"text": TEXT, **question})
    assert status == 200, answer
    return answer


def refusal(client, **question):
    status, answer = client.ask("/circuit", **{"text": TEXT, **question})
    assert list(answer) == ["error"], (status, answer)
    return status, answer["error"]


@pytest.mark.parametrize(
    ("nodes", "kinds"),
    [("neurons", ("neurons",)), ("heads", ("heads",)), ("both", ("neurons", "heads"))],
)
def test_page_and_file_are_those_of_the_library(asking, tmp_path, nodes, kinds):
    answer = circuit(asking, nodes=nodes, max_nodes=20, target="negative")
    model, tokenizer = sentiment_model()
    found = find_circuit(
        model, TEXT, "negative", tokenizer=tokenizer, nodes=kinds, max_nodes=20
    )
    frame = json.loads(asking.send("/about")[2])["frame"]
    assert answer["html"].join(frame) == found.to_html()
    found.to_json(tmp_path / "graph.json")
    assert json.loads(answer["json"]) == json.loads(
        (tmp_path / "graph.json").read_text()
    )


def test_a_rule_set_and_a_language_models_token():
    model = language_model("Llama", torch.float32)
    with serving(model, word_tokenizer()) as client:
        answer = circuit(
            client, text="Paris is the", target="capital", rules="attnlrp", nodes="both"
        )
        status, error = refusal(client, target="Berlin")
    assert "attnlrp" in answer["html"]
    assert status == 422 and "Berlin" in error


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ({"nodes": "neuron"}, 400, "'nodes'"),
        ({"max_nodes": 0}, 400, "from 1 to 300"),
        ({"rules": "lrp"}, 422, "'lrp'"),
        ({"target": "sad"}, 422, "'sad'"),
        ({"text": "word " * 200}, 413, "at most 128 tokens"),
        ({"text": " "}, 422, "text"),
    ],
)
def test_what_cannot_be_traced_is_refused(asking, question, status, said):
    found, error = refusal(asking, **question)
    assert found == status, error
    assert said in error and "\n" not in error


def test_a_model_without_neurons_gets_a_sentence():
    model = language_model("Llama", torch.float32)
    for block in model.model.layers:
        block.mlp = torch.nn.Identity()
    with serving(model, word_tokenizer()) as client:
        status, error = refusal(client, text="Paris is")
    assert status == 422 and "has no feed-forward layer" in error
