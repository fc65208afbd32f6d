"""Models that take or say something else: one line says what they are."""

import json
import logging

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from command_line import assert_refused
from lrp_hooks import cli
from lrp_hooks.commands import explain as explain_command

WORDS = "[UNK] [CLS] [SEP] [MASK] [PAD] good bad film a with".split()
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "pad_token_id": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Save a tiny model of a kind with a tokenizer of ten words."""
    made = {}

    def folder(kind, **settings):
        if kind in made:
            return made[kind]
        path = tmp_path_factory.mktemp(kind)
        core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        special = {f"{n}_token": f"[{n.upper()}]" for n in ("unk", "mask", "pad")}
        if kind.startswith("GPT2"):
            special = {"unk_token": "[UNK]"}
        PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(path)
        torch.manual_seed(0)
        family = kind.partition("For")[0].removesuffix("Model")
        config = getattr(transformers, f"{family}Config")(**settings)
        logging.disable(logging.WARNING)
        getattr(transformers, kind)(config).save_pretrained(path)
        logging.disable(logging.NOTSET)
        made[kind] = path
        return path

    return folder


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "rows.csv").write_text("text\ngood film\na bad film with a film\n")
    return tmp_path / "rows.csv"


@pytest.fixture
def asked(run, capfd):
    """Run a command; what saving a model said before is gone."""

    def asked(*arguments):
        capfd.readouterr()
        return run(*arguments)

    return asked


@pytest.mark.parametrize("command", ["explain", "compare", "audit"])
def test_a_model_that_cannot_be_run_on_a_text(asked, folder, command):
    path = folder("BertForMultipleChoice", **SIZES)
    outcome = asked(command, "good film", "--model", path)
    assert_refused(outcome, "a BertForMultipleChoice, cannot be run on this input")


OTHERS = {
    "BertForMultipleChoice": "BertForMultipleChoice, cannot be run",
    "BertForQuestionAnswering": "BertForQuestionAnswering, which returns no logits",
    "BertForTokenClassification": r"returns logits of shape \(1, 6, 2\)",
    "BertModel": "BertModel, which returns no logits",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_only_classifiers_of_texts_are_evaluated(asked, folder, rows, tmp_path, kind):
    path = folder(kind, **SIZES)
    more = ("--data", rows, "--model", path, "--methods", "slalom")
    assert_refused(asked("evaluate", *more, "--out", tmp_path / "out"), OTHERS[kind])


SMALL_GPT2 = {"vocab_size": 10, "n_embd": 16, "n_layer": 1, "n_head": 2}


@pytest.mark.parametrize("method", ["lrp", "integrated_gradients", "slalom", "lime"])
def test_a_classifier_without_padding(asked, folder, method, stdin):
    settings = {**SMALL_GPT2, "n_positions": 32, "bos_token_id": 0, "eos_token_id": 0}
    path = folder("GPT2ForSequenceClassification", **settings)
    stdin("good film\na bad film\n")
    code, out, err = asked(*(
        "explain",
        "-",
        "--model",
        path,
        "--method",
        method,
        "--json",
        "-",
    ))
    assert code == 0
    assert ("No SLALOM that was fitted" in err) == bool(err) == (method == "slalom")
    assert len(json.loads(out)) == 2


def test_a_classifier_without_padding_is_evaluated(asked, folder, rows, tmp_path):
    settings = {**SMALL_GPT2, "n_positions": 32, "bos_token_id": 0, "eos_token_id": 0}
    path = folder("GPT2ForSequenceClassification", **settings)
    more = ("--data", rows, "--model", path, "--out", tmp_path / "out")
    code, out, err = asked("evaluate", *more)
    assert (code, err) == (0, "")
    assert "mean over 2 texts" in out


PICTURES = {
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.mark.parametrize(
    ("kind", "settings", "takes"),
    [("ViTForImageClassification", PICTURES, "pixel_values")],
)
def test_a_model_of_pictures_says_so(
    asked, folder, rows, tmp_path, kind, settings, takes
):
    path = folder(kind, **settings)
    for own in (
        ("explain", "good film"),
        ("compare", "good film"),
        ("audit", "good film"),
        ("evaluate", "--data", rows, "--out", tmp_path / "out"),
    ):
        outcome = asked(*own, "--model", path)
        assert_refused(outcome, f"holds a {kind}, which reads '{takes}', no texts")
    assert asked("rules", "--model", path)[0] == 0


@pytest.mark.usefixtures("loaded_once")
def test_a_defect_is_one_line_too(run, monkeypatch):
    def fail(*arguments):
        raise KeyError("frob\nnicate")

    monkeypatch.setattr(explain_command, "predict", fail)
    code, out, err = run("explain", "a")
    assert (code, out) == (1, "")
    assert "KeyError" in err and err.count("\n") == 1
    assert "a defect of lrp-hooks; LRP_HOOKS_TRACEBACK=1 shows where" in err
    monkeypatch.setenv("LRP_HOOKS_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(["explain", "a"])
