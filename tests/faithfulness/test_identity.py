"""A folder of results belongs to everything that decides its numbers."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from command_line import EMBEDDED
from lrp_hooks import ArgumentError, faithfulness
from lrp_hooks.many import identity
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.texts.loading import load_folder

TEXTS = ["a Good film", "bad"]
LABELS = ["positive", "negative"]


def evaluate(model, tokenizer, out, texts=TEXTS, labels=LABELS, **options):
    options = {"methods": ["lrp"], "metrics": ["accuracy"], "chunk": 1, **options}
    return faithfulness.evaluate(model, tokenizer, texts, labels, out=out, **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model folder, and a folder of results of which a portion is missing."""
    folder = tmp_path_factory.mktemp("identity")
    model, tokenizer = sentiment_model()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    evaluate(*load_folder(folder / "model"), folder / "out")
    (folder / "out" / "parts" / "00000.json").unlink()
    return folder


@pytest.fixture
def place(saved, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def other_words(record):
    record["model"]["vocab"]["unheard-of"] = record["model"]["vocab"].pop("zone")


def cased(record):
    record["normalizer"]["lowercase"] = False


def heavier(model):
    tensors = load_file(model / "model.safetensors")
    tensors["classifier.bias"] += 0.5
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


FILES = {
    "a word": ("tokenizer", "tokenizer.json", other_words),
    "the case": ("tokenizer", "tokenizer.json", cased),
    "a special token": (
        "tokenizer",
        "tokenizer_config.json",
        lambda record: record.update(mask_token="[UNK]"),
    ),
    "the activation": (
        "config",
        "config.json",
        lambda record: record.update(hidden_act="relu"),
    ),
    "the problem": (
        "config",
        "config.json",
        lambda record: record.update(problem_type="multi_label_classification"),
    ),
    "an epsilon": (
        "config",
        "config.json",
        lambda record: record.update(layer_norm_eps=1e-5),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_model_that_changed(place, name):
    differing, file, change = FILES[name]
    rewrite(place / "model" / file, change)
    with pytest.raises(ArgumentError, match=f"configuration: {differing} differ"):
        evaluate(*load_folder(place / "model"), place / "out")


def test_weights_that_changed(place):
    heavier(place / "model")
    with pytest.raises(ArgumentError, match="configuration: weights differ"):
        evaluate(*load_folder(place / "model"), place / "out")


@pytest.mark.parametrize("name", ["lrp_hooks", "torch", "transformers", "captum"])
def test_another_version(place, monkeypatch, name):
    model, tokenizer = load_folder(place / "model")
    monkeypatch.setattr(identity, "__version__", "0.0" if name == "lrp_hooks" else "1")
    if name != "lrp_hooks":
        real = identity.version
        monkeypatch.setattr(
            identity, "__version__", __import__("lrp_hooks").__version__
        )
        monkeypatch.setattr(
            identity, "version", lambda own: "0.0" if own == name else real(own)
        )
    with pytest.raises(ArgumentError, match=f"configuration: {name} differ"):
        evaluate(model, tokenizer, place / "out")


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        ({"texts": ["a good film", "bad"]}, "data"),
        ({"texts": TEXTS[::-1]}, "data"),
        ({"labels": LABELS[::-1]}, "data"),
        ({"methods": {"lrp": {"rules": "ah"}}}, "methods"),
        ({"replace_with": "pad"}, "replacements"),
        ({"signs": ["absolute"]}, "signs"),
        ({"target": "label"}, "target"),
        ({"seed": 1}, "seed"),
        ({"chunk": 2}, "chunk"),
    ],
)
def test_what_is_asked_for(place, changed, differing):
    with pytest.raises(ArgumentError, match=f"configuration: {differing} differ"):
        evaluate(*load_folder(place / "model"), place / "out", **changed)


def test_what_passes_changes_nothing(place):
    """Saved again, moved, used: it is the same model."""
    model, tokenizer = load_folder(place / "model")
    tokenizer("a text", truncation=True, padding="max_length", max_length=4)
    model.save_pretrained(place / "again")
    tokenizer.save_pretrained(place / "again")
    before = identity.identity_of(model, tokenizer)
    assert before == identity.identity_of(*load_folder(place / "again"))
    assert len(evaluate(*load_folder(place / "again"), place / "out").rows) == 2


def test_the_type_of_numbers_counts():
    model, tokenizer = load_folder(EMBEDDED)
    before = identity.identity_of(model, tokenizer)["weights"]
    assert identity.identity_of(model.to(torch.float64), tokenizer)["weights"] != before


def test_portions_of_nobody_are_refused(place):
    (place / "out" / "config.json").unlink()
    with pytest.raises(ArgumentError, match="finished portions, but no config.json"):
        evaluate(*load_folder(place / "model"), place / "out")
