"""Files, weights and words that make no classifier or no document are refused."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from closed_forms import IDS, drawn
from command_line import assert_refused
from lrp_hooks import ArgumentError
from lrp_hooks.explainers import closed_form

WORDS = [f"word{i}" for i in range(2, 12)]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "mine.safetensors"
    closed_form.save_classifier(drawn(), WORDS, path)
    return path


def rewritten(path, **metadata):
    """Put other entries into a file's metadata."""
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = file.metadata()
    save_file(state, path, {**known, **metadata})
    return path


NO_WORDS = {
    "null": None,
    "a number": 5,
    "an object": dict.fromkeys(WORDS, 1),
    "a string": "abcdefghij",
    "other entries": [1, None, *WORDS[2:]],
    "lists": [[word] for word in WORDS],
}


@pytest.mark.parametrize("words", NO_WORDS.values(), ids=NO_WORDS)
def test_a_file_whose_words_are_no_list_of_words_is_refused(saved, run, words):
    path = rewritten(saved, words=json.dumps(words))
    with pytest.raises(ArgumentError, match="words"):
        closed_form.load_classifier(path)
    assert_refused(run("closed-forms", "--model", path, "--text", "word2"), "words")


@pytest.mark.parametrize(
    "metadata",
    [
        {"words": "["},
        {"words": "[" * 100_000},
        {"max_length": "twelve"},
        {"max_length": "0"},
        {"max_length": "1"},
        {"scale": "null"},
        {"positions": "3"},
    ],
    ids=["broken", "deep", "no number", "zero", "one", "no scale", "no positions"],
)
def test_a_file_of_other_options_is_refused(saved, run, metadata):
    path = rewritten(saved, **metadata)
    outcome = run("closed-forms", "--model", path, "--text", "word2")
    assert_refused(outcome, "")


@pytest.mark.parametrize("words", list(NO_WORDS.values())[:4], ids=list(NO_WORDS)[:4])
def test_words_are_a_list(tmp_path, words):
    said = f"words is a {type(words).__name__}; it must be a list"
    with pytest.raises(ArgumentError, match=said):
        closed_form.save_classifier(drawn(), words, tmp_path / "m.safetensors")
    with pytest.raises(ArgumentError, match=said):
        closed_form.document("a", words)


STATE = {name: part.detach() for name, part in drawn().state_dict().items()}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("embedding.weight", torch.zeros(12)),
        ("embedding.weight", torch.zeros(())),
        ("embedding.weight", "a table"),
        ("embedding.weight", None),
        ("heads.0.query.weight", torch.zeros(())),
        ("heads.0.value.weight", torch.zeros(4)),
        ("heads.0.value.weight", [[1.0], [1.0, 2.0]]),
        ("heads.1.key.weight", torch.zeros(())),
        (3, torch.zeros(2, 2)),
    ],
)
def test_weights_of_other_shapes_are_refused(name, part):
    with pytest.raises(ArgumentError, match="none of an AttentionClassifier"):
        closed_form.from_state_dict({**STATE, name: part}, max_length=12)


@pytest.mark.parametrize("state", [None, 3, list(STATE.values())])
def test_weights_have_names(state):
    with pytest.raises(ArgumentError, match=f"state is a {type(state).__name__}"):
        closed_form.from_state_dict(state)


@pytest.mark.filterwarnings("error")
def test_weights_may_be_arrays():
    arrays = {name: part.numpy().copy() for name, part in STATE.items()}
    for array in arrays.values():
        array.flags.writeable = False
    model = closed_form.from_state_dict(arrays, max_length=12)
    assert next(model.parameters()).dtype == torch.float64
    with torch.no_grad():
        assert_close(model(IDS[None]), drawn()(IDS[None]))


def test_a_file_goes_where_there_is_a_folder(tmp_path):
    for path in (tmp_path / "nosuch" / "m.safetensors", tmp_path):
        with pytest.raises(ArgumentError, match="cannot be written"):
            closed_form.save_classifier(drawn(), WORDS, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", [nn.Linear(2, 2), None])
def test_another_model_is_not_saved(tmp_path, model):
    with pytest.raises(ArgumentError, match="AttentionClassifier alone"):
        closed_form.save_classifier(model, WORDS, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [0, 1, -3, True, 2.5, "12", None])
def test_a_document_has_room_for_a_word(length):
    said = f"max_length={length!r} must be a whole number from 2 on"
    with pytest.raises(ArgumentError, match=said):
        closed_form.document("word2 word3", WORDS, length)


def test_the_shortest_document_has_one_word():
    for length in (2, np.int64(2)):
        assert closed_form.document("word2 word3", WORDS, length).tolist() == [0, 2]
