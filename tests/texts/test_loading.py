"""Model folders: what loads, and what says why it does not."""

import json
import math
import shutil
import struct

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


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        DEEP.encode(),
        b"[" * 100_000,
        bytes(range(256)),
        '{"model_type": "bert"}'.encode("utf-16"),
        b"null",
        b'{"model_type": "bert", "hidden_size": ' + b"9" * 10_000 + b"}",
        b'{"model_type": "bert", "auto_map": {"AutoConfig": "their_code.Config"}}'
        b" and more",
    ],
    ids=["deep", "open", "bytes", "utf-16", "null", "digits", "more"],
)
def test_configurations_that_are_no_json(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelFolderError, match="configuration in .* cannot be loaded"):
        load_folder(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "x"},
        {"hidden_size": -1},
        {"hidden_size": 10**40},
        {"num_hidden_layers": 10**40},
        {"num_hidden_layers": 10**9},
        {"num_labels": 10**40},
        {"text_config": {"vocab_size": 10**12}},
        {"num_attention_heads": 0},
        {"layer_norm_eps": math.nan},
        {"label2id": "x"},
        {"label2id": {"a": "b"}},
        {"id2label": [1]},
        {"model_type": ["bert"]},
        {"model_type": "theirs", "auto_map": {"AutoConfig": "their_code.Config"}},
        {"architectures": ["pipeline"]},
        {"architectures": ["Trainer"]},
        {"architectures": ["utils"]},
        {"architectures": ["AutoModel"]},
        {"architectures": [{"a": 1}]},
        {"architectures": "BertModel"},
        {"architectures": {"a": 1}},
    ],
    ids=str,
)
def test_configurations_of_no_model(folder, changes):
    edit(folder, **changes)
    (folder / "their_code.py").write_text("raise SystemExit(3)")
    with pytest.raises(ModelFolderError) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


def test_one_name_of_several_is_a_model(folder):
    edit(folder, architectures=["Nope", "pipeline", "BertModel"])
    assert type(load_model(folder)).__name__ == "BertModel"
    edit(folder, architectures=None, time_step_limit=[0.0, math.inf])
    assert type(load_model(folder)).__name__ == "BertForSequenceClassification"


@pytest.mark.parametrize("kind", ["loop", "dangling", "folder"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_files_that_are_none(folder, file, kind):
    path = folder / file
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"loop": file, "dangling": "nosuch"}[kind])
    with pytest.raises(ModelFolderError):
        load_folder(folder)


def test_a_folder_that_is_a_loop(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ModelFolderError):
        load_folder(tmp_path / "loop")


def tensors(header, size=None):
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written) if size is None else size) + written


@pytest.mark.parametrize(
    "content",
    [
        tensors({}, 2**62),
        tensors({}, 90_000_000),
        tensors({}, 0),
        tensors({}),
        tensors([1]),
        tensors({"a": {"dtype": "F32", "shape": [2**40] * 2, "data_offsets": [0, 16]}}),
        tensors({"a": {"dtype": "X9", "shape": [0], "data_offsets": [0, 0]}}),
        struct.pack("<Q", len(DEEP)) + DEEP.encode(),
    ],
    ids=["huge", "long", "zero", "empty", "list", "lies", "dtype", "deep"],
)
def test_weights_that_are_none(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError, match="weights in"):
        load_model(folder)


def test_weights_that_are_programs_do_not_run(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    program = f"cos\nmkdir\n(S'{tmp_path / 'ran'}'\ntR."
    (folder / "pytorch_model.bin").write_text(program)
    with pytest.raises(ModelFolderError, match="weights in"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


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


@pytest.mark.parametrize("limit", [-1, "x", []])
def test_tokenizers_of_no_length(folder, limit):
    path = folder / "tokenizer_config.json"
    given = {**json.loads(path.read_text()), "model_max_length": limit}
    path.write_text(json.dumps(given))
    with pytest.raises(ModelFolderError, match=r"model_max_length=.* must be a number"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[1]", DEEP, '{"model": 1, "added_tokens": []}']
)
def test_bad_tokenizers(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelFolderError, match="tokenizer in .* cannot be loaded"):
        load_tokenizer(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelFolderError, match="holds no tokenizer"):
        load_tokenizer(folder)
