"""Model folders: what loads, and what says why it does not."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import lrp_hooks.sentiment
from lrp_hooks import ModelFolderError
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.texts.loading import load_folder, load_model, load_tokenizer

EMBEDDED = lrp_hooks.sentiment.__path__[0]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(EMBEDDED, tmp_path / "model")


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_embedded_model_knows_sentiment():
    model, tokenizer = sentiment_model()
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    batch = tokenizer(["a wonderful film", "a terrible mess"], return_tensors="pt")
    assert model(**batch).logits.argmax(-1).tolist() == [1, 0]
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_folders_load_as_the_class_they_name(folder):
    edit(folder, architectures=["BertModel"])
    assert type(load_model(folder)).__name__ == "BertModel"
    edit(folder, architectures=["NoSuchClass"])
    assert type(load_model(folder)).__name__ == "BertForSequenceClassification"


def test_folders_that_are_none(tmp_path, folder):
    with pytest.raises(ModelFolderError, match="nosuch' does not exist"):
        load_folder(tmp_path / "nosuch")
    with pytest.raises(ModelFolderError, match="config.json' is a file"):
        load_folder(folder / "config.json")
    with pytest.raises(ModelFolderError, match="holds no model"):
        load_folder(tmp_path)
    with pytest.raises(ModelFolderError, match="does not exist"):
        load_folder("a\0b")
    with pytest.raises(ModelFolderError, match="no valid name"):
        load_folder("a" * 5000)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": "nosuch"}'])
def test_bad_configurations(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelFolderError, match="configuration in .* cannot be loaded"):
        load_model(folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_weights(folder, share):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFolderError, match="weights in .* cannot be loaded"):
        load_model(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="weights in .* cannot be loaded"):
        load_model(folder)


def test_a_head_that_was_never_trained(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFolderError, match=r"1 tensors .*'classifier\.weight'"):
        load_model(folder)


def test_weights_of_another_size(folder):
    edit(folder, hidden_size=64)
    with pytest.raises(ModelFolderError, match="do not fit 68 tensors"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": 1, "added_tokens": []}'])
def test_bad_tokenizers(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelFolderError, match="tokenizer in .* cannot be loaded"):
        load_tokenizer(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelFolderError, match="holds no tokenizer"):
        load_tokenizer(folder)
