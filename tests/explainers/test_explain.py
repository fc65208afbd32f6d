"""One call for every explainer, on texts and on tensors."""

from pathlib import Path

import pandas
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from lrp_hooks import (
    ArgumentError,
    Contrast,
    Explanation,
    LrpHooksWarning,
    Relevance,
    TextError,
    compare,
    explain,
    explain_generation,
    explainers,
    find_circuit,
    instrument,
)
from lrp_hooks.explainers import LRP, Explainer, GradientXInput
from lrp_hooks.texts.encoding import position_limit

TEXTS = ["a gripping, funny film", "dull"]


def speaker(kind=GPT2LMHeadModel):
    torch.default_generator.manual_seed(0)
    small = {"vocab_size": 6000, "bos_token_id": 2, "eos_token_id": 3}
    if kind is GPT2LMHeadModel:
        config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=32, **small)
    else:
        config = LlamaConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            **small,
        )
    return kind(config).eval()


def test_a_text(sentiment):
    found = explain(sentiment.model, TEXTS[0], tokenizer=sentiment.tokenizer)
    assert type(found) is Relevance
    wanted = ["[CLS]", "a", "gripping", ",", "funny", "film", "[SEP]"]
    assert found.tokens == [wanted]
    assert found.scores.shape == (1, 7)
    assert found.targets == ["positive"]
    assert found.method == "lrp"
    assert found.meta["rules"] == "conservative"
    assert found.meta["special"] == [[True, *[False] * 5, True]]
    assert found.meta["subwords"] == "##"
    assert found.ledger.error.item() < 1e-5


def test_texts_are_as_one_by_one(sentiment):
    both = explain(sentiment.model, TEXTS, tokenizer=sentiment.tokenizer, target=1)
    assert [len(row) for row in both.tokens] == [7, 3]
    for b, text in enumerate(TEXTS):
        one = explain(sentiment.model, text, tokenizer=sentiment.tokenizer, target=1)
        assert one.tokens == both.tokens[b : b + 1]
        length = len(one.tokens[0])
        assert_close(both.scores[b, :length], one.scores[0], rtol=1e-3, atol=1e-5)
        assert (both.scores[b, length:] == 0).all()


def test_a_batch_with_a_tokenizer(sentiment):
    batch = sentiment.tokenizer(TEXTS, return_tensors="pt", padding=True)
    named = explain(sentiment.model, batch, tokenizer=sentiment.tokenizer)
    by_text = explain(sentiment.model, TEXTS, tokenizer=sentiment.tokenizer)
    assert named.tokens == by_text.tokens
    assert named.meta["special"] == by_text.meta["special"]
    assert torch.equal(named.scores, by_text.scores)
    assert explain(sentiment.model, dict(batch)).tokens is None


def test_padding_on_the_left_keeps_its_place(sentiment):
    ids = torch.tensor([[0, 0, 2, 33, 3], [2, 33, 33, 33, 3]])
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    found = explain(sentiment.model, batch, tokenizer=sentiment.tokenizer)
    assert found.tokens[0] == ["[PAD]", "[PAD]", "[CLS]", "a", "[SEP]"]
    assert "[PAD]" not in found.to_terminal(colour=False)
    assert found.words().tokens[0] == ["[CLS]", "a", "[SEP]"]


def test_a_tensor_of_ids(sentiment):
    ids = torch.tensor([[2, 33, 3]])
    found = explain(sentiment.model, ids, tokenizer=sentiment.tokenizer)
    assert found.tokens == [["[CLS]", "a", "[SEP]"]]


def test_unknown_words_are_no_special_tokens(sentiment):
    ids = torch.tensor([[2, 1, 3]])
    found = explain(sentiment.model, ids, tokenizer=sentiment.tokenizer)
    assert found.meta["special"] == [[True, False, True]]


def test_vectors_have_no_tokens():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = explain(model, torch.randn(2, 4))
    assert found.tokens is None
    assert found.scores.shape == (2, 4)
    assert found.meta.get("labels") is None
    assert_close(found.complete().sum(1), found.output)


def test_plain_gradient(sentiment):
    found = explain(
        sentiment.model, TEXTS, "gradient_x_input", sentiment.tokenizer, target=1
    )
    assert found.method == "gradient_x_input"
    assert "rules" not in found.meta
    batch = sentiment.tokenizer(TEXTS, return_tensors="pt", padding=True)
    table = sentiment.model.get_input_embeddings()
    embedded = table(batch.pop("input_ids")).detach().requires_grad_()
    logits = sentiment.model(inputs_embeds=embedded, **batch).logits
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), embedded)
    assert_close(found.scores, (gradient * embedded).sum(-1), rtol=1e-4, atol=1e-6)


def test_options_reach_the_explainer(sentiment):
    def run(**options):
        return explain(sentiment.model, TEXTS, tokenizer=sentiment.tokenizer, **options)

    assert run(rules="attnlrp").meta["rules"] == "attnlrp"
    assert not torch.equal(run(rules="attnlrp").scores, run().scores)
    both = run(wrt=["bert.embeddings", "bert.encoder.layer.0"])
    assert list(both.scores) == ["bert.embeddings", "bert.encoder.layer.0"]
    assert both.tokens is not None
    assert both.to_html().count('class="t ') == 2 * (7 + 3)


def test_explainers_called_alike(sentiment):
    batch = sentiment.tokenizer(TEXTS[0], return_tensors="pt")
    for name in explainers.names():
        kind = explainers.named(name)
        assert issubclass(kind, Explainer)
        assert getattr(explainers, kind.__name__) is kind
        assert kind.__name__ in dir(explainers)
        found = kind(sentiment.model)(batch, target=1)
        assert isinstance(found, Explanation)
        assert found.method == name
    assert explainers.named("lrp") is LRP
    assert explainers.named("gradient_x_input") is GradientXInput
    with pytest.raises(AttributeError, match="Nosuch"):
        _ = explainers.Nosuch


@pytest.mark.parametrize("kind", [GPT2LMHeadModel, LlamaForCausalLM])
def test_language_models_name_the_explained_token(kind, sentiment):
    model = speaker(kind)
    found = explain(model, TEXTS, tokenizer=sentiment.tokenizer, target=[33, 2820])
    assert found.targets == ["a", "gripping"]
    contrast = Contrast(33, torch.tensor([2820, 33]))
    with pytest.warns(LrpHooksWarning, match="class 33 on both sides in example 1"):
        found = explain(model, TEXTS, tokenizer=sentiment.tokenizer, target=contrast)
    assert found.targets == ["a rather than gripping", "a rather than a"]
    assert explain(model, TEXTS, tokenizer=sentiment.tokenizer).targets != ["", ""]


class Plain(nn.Module):
    """A classifier that knows nothing of masks."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6000, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(self.table(ids).mean(1))


def test_plain_modules_take_ids_alone(sentiment):
    found = explain(Plain(), TEXTS[1], tokenizer=sentiment.tokenizer)
    assert found.tokens == [["[CLS]", "dull", "[SEP]"]]
    assert_close(found.complete().sum(1), found.output)
    same_length = ["dull film", "funny film"]
    assert len(explain(Plain(), same_length, tokenizer=sentiment.tokenizer).tokens) == 2
    with pytest.raises(TextError, match=r"Plain\.forward takes no attention_mask"):
        explain(Plain(), TEXTS, tokenizer=sentiment.tokenizer)


def test_wrappers_that_hand_on_get_everything(sentiment):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = sentiment.model

        def forward(self, **inputs):
            return self.inner(**inputs).logits

    wrapped = explain(Wrapper(), TEXTS, tokenizer=sentiment.tokenizer)
    bare = explain(sentiment.model, TEXTS, tokenizer=sentiment.tokenizer)
    assert torch.equal(wrapped.scores, bare.scores)


def test_a_decoder_starts_to_decode(sentiment):
    torch.default_generator.manual_seed(0)
    config = T5Config(
        vocab_size=6000,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).eval()
    found = explain(model, TEXTS, tokenizer=sentiment.tokenizer, target=33)
    assert found.scores.shape == (2, 8)
    assert found.tokens[1] == ["[CLS]", "dull", "[SEP]", "[PAD]"]
    assert found.targets == ["a", "a"]


def test_a_model_of_images_takes_no_text(sentiment):
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    with pytest.raises(TextError, match="ViTForImageClassification .*'pixel_values'"):
        explain(ViTForImageClassification(config), TEXTS, tokenizer=sentiment.tokenizer)


def test_the_model_is_left_as_it_was(sentiment):
    explain(sentiment.model, TEXTS[0], tokenizer=sentiment.tokenizer)
    with instrument(sentiment.model):
        pass  # raises if it still is instrumented


def refuse(error, message, *arguments, **options):
    with pytest.raises(error, match=message):
        explain(*arguments, **options)


def test_unknown_methods_and_options(sentiment):
    refuse(
        ArgumentError,
        "'nosuch' .* 'lrp', 'gradient_x_input'",
        sentiment.model,
        TEXTS,
        method="nosuch",
    )
    refuse(
        ArgumentError,
        "depth=3 .* rules, overrides, strict, wrt",
        sentiment.model,
        TEXTS,
        depth=3,
    )


@pytest.mark.parametrize("method", ["lrp", "globenc", "random_baseline"])
def test_a_device_is_the_models(sentiment, method):
    message = r"device='cuda' .*Move the model and its inputs: model.to\('cuda'\)"
    refuse(ArgumentError, message, sentiment.model, TEXTS, method, device="cuda")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"is a NoneType; .* explain\(\) also takes texts, with their tokenizer"),
        (3, "is a int; .* also takes texts"),
        (pandas.DataFrame({"text": TEXTS}), r"table pass a column: table\['text'\]"),
    ],
    ids=["none", "number", "table"],
)
def test_what_holds_no_inputs_says_what_does(sentiment, inputs, message):
    refuse(ArgumentError, message, sentiment.model, inputs)


@pytest.mark.parametrize("folder", ["folder", Path("folder")], ids=repr)
def test_a_folder_is_no_model(folder):
    said = r"Load it: AutoModelForSequenceClassification\.from_pretrained\(folder\)"
    refuse(ArgumentError, f"{said}.*AutoTokenizer.*explain_many", folder, "text")
    writes = r"Load it: AutoModelForCausalLM\.from_pretrained\(folder\)"
    for call, message in (
        (lambda: instrument(folder), said),
        (lambda: explainers.named("saliency")(folder), said),
        (lambda: compare(folder, "text"), said),
        (lambda: explain_generation(folder, None, "text"), writes),
        (lambda: find_circuit(folder, "text"), writes),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


@pytest.mark.parametrize("method", ["attention_rollout", "saliency", "decompx"])
def test_there_is_nothing_to_complete_without_a_ledger(sentiment, method):
    found = explain(sentiment.model, TEXTS[0], method, sentiment.tokenizer)
    with pytest.raises(ArgumentError, match=f"shares out .*'{method}' is none.*'lrp'"):
        found.complete("equal")


def test_a_text_needs_a_tokenizer(sentiment):
    refuse(ArgumentError, "tokenizer is None", sentiment.model, "text")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "the text is blank: ''"),
        (" \n\t", "the text is blank"),
        (["fine", "\u3000"], "text 2 is blank"),
        ([], "empty"),
        (["fine", 3], "text 2 of 2 is 3, which is no string"),
        ("a\ud800b", r"no valid Unicode: '\\ud800' at character 1"),
        ("\u200b", "no token in it"),
        ("word " * 127, "129 tokens, but the model has 128 positions"),
        (["fine", "word " * 127], "text 2 has 129 tokens"),
    ],
)
def test_texts_that_cannot_be_explained(sentiment, texts, message):
    refuse(TextError, message, sentiment.model, texts, tokenizer=sentiment.tokenizer)


def test_the_longest_text_fits(sentiment):
    found = explain(sentiment.model, "word " * 126, tokenizer=sentiment.tokenizer)
    assert found.scores.shape == (1, 128)


def test_positions_of_other_models():
    roberta = RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=10,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=34,
        )
    )
    assert position_limit(roberta) == 32  # two rows stand before the first position
    assert position_limit(speaker()) == 32
    assert position_limit(nn.Linear(2, 2)) is None
