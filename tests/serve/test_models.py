"""The explorer of models of every kind."""

import re

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from explorer_server import serving
from generation_models import VOCABULARY, WORDS, Bag, language_model, word_tokenizer
from lrp_hooks import explain

TEXT = "the capital of France is"


def masking_tokenizer():
    known = word_tokenizer([*WORDS, "[MASK]"])
    return PreTrainedTokenizerFast(
        tokenizer_object=known.backend_tokenizer,
        unk_token=WORDS[0],
        mask_token="[MASK]",
    )


def masked_model():
    config = transformers.BertConfig(
        vocab_size=VOCABULARY + 1,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    torch.default_generator.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def causal():
    model, tokenizer = language_model("Llama", torch.float32), word_tokenizer()
    with serving(model, tokenizer) as client:
        yield client, model, tokenizer


@pytest.fixture(scope="module")
def masked():
    model, tokenizer = masked_model(), masking_tokenizer()
    with serving(model, tokenizer) as client:
        yield client, model, tokenizer


def numbers(answer):
    return [float(n) for n in re.findall(r'title="([^"]*)"', answer["html"])]


def about(client):
    return client.send("/about")[2].decode()


def test_a_causal_model_explains_the_next_token(causal):
    client, model, tokenizer = causal
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        chances = model(ids).logits[0, -1].softmax(0)
    best = int(chances.argmax())
    _, answer = client.ask("/explain", text=TEXT)
    assert WORDS[best] in answer["prediction"]
    assert f"{float(chances[best]):.4f}" in answer["prediction"]
    expected = explain(model, TEXT, "lrp", tokenizer, best)
    assert numbers(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)


@pytest.mark.parametrize("target", ["Paris", " Paris ", str(WORDS.index("Paris"))])
def test_a_token_is_named_as_text_or_by_its_number(causal, target):
    client, model, tokenizer = causal
    _, answer = client.ask("/explain", text=TEXT, target=target)
    expected = explain(model, TEXT, "lrp", tokenizer, WORDS.index("Paris"))
    assert numbers(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    assert ">Paris<" in answer["html"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("Paris London", "of this model, but 'Paris', 'London'. Take one"),
        ("Parris", "Did you mean 'Paris'?"),
        (str(VOCABULARY), "is no single known token"),
        ("9" * 200, "is no single known token"),
        (" ", "of this model, but none"),
    ],
)
def test_what_is_no_token_is_refused(causal, target, told):
    status, answer = causal[0].ask("/explain", text=TEXT, target=target)
    assert status == 422
    assert told in answer["error"]


def test_a_causal_model_has_layers_and_a_comparison(causal):
    client, model, tokenizer = causal
    _, answer = client.ask("/layers", text=TEXT, target="Paris")
    assert answer["layers"] == ["input", "model.layers.0", "model.layers.1"]
    status, answer = client.ask("/compare", text=TEXT, target="Paris")
    assert status == 200
    assert "integrated_<wbr>gradients" in answer["html"]


def test_a_long_text_is_refused_where_the_model_would_take_it(sentiment):
    model = language_model("Llama", torch.float32, max_position_embeddings=10**6)
    with serving(model, word_tokenizer()) as client:
        status, answer = client.ask("/explain", text="one " * 513)
        assert status == 413
        assert "513 words; lrp explains at most 512 tokens" in answer["error"]


def test_a_masked_model_explains_what_stands_at_the_mask(masked):
    client, model, tokenizer = masked
    text = "the capital of [MASK] is Paris"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, 3]
    best = int(logits.argmax())
    _, answer = client.ask("/explain", text=text)
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert names[best] in answer["prediction"]
    assert f"{float(logits.softmax(0)[best]):.4f}" in answer["prediction"]
    for name in (names[best], "France"):
        token = names.index(name)
        _, answer = client.ask("/explain", text=text, target=name)
        expected = explain(
            model,
            text,
            "lrp",
            tokenizer,
            lambda output, t=token: output.logits[:, 3, t],
        )
        assert numbers(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    status, answer = client.ask("/compare", text=text)
    assert status == 200, answer


def test_of_two_masks_the_first_is_explained(masked):
    client, model, tokenizer = masked
    text = "the [MASK] of [MASK] is Paris"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, 1]
    best = int(logits.argmax())
    expected = explain(
        model, text, "lrp", tokenizer, lambda output: output.logits[:, 1, best]
    )
    _, answer = client.ask("/explain", text=text)
    assert f"{float(logits.softmax(0)[best]):.4f}" in answer["prediction"]
    assert numbers(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)


def test_a_masked_model_asks_for_a_mask(masked):
    status, answer = masked[0].ask("/explain", text=TEXT)
    assert status == 422
    assert answer["error"].startswith("the text has no [MASK]")
    assert '"mask": "[MASK]"' in about(masked[0])


def test_a_model_without_blocks_says_so_and_shows_the_rest():
    with serving(Bag().eval(), word_tokenizer()) as client:
        status, answer = client.ask("/explain", text=TEXT, target="1")
        assert status == 200
        assert "i0" in answer["prediction"]  # has no rule, and this is said
        status, answer = client.ask("/layers", text=TEXT, target="1")
        assert status == 422
        assert "has no list of modules" in answer["error"]


def test_about_says_what_may_be_asked(client, causal):
    shown = about(client)
    assert '"model": "BertForSequenceClassification"' in shown
    assert '"labels": ["negative", "positive"]' in shown
    assert '"longest": 128' in shown
    assert '"speaks": true' in about(causal[0])
    assert '"labels": []' in about(causal[0])
