"""The next token of an encoder-decoder: both sides have scores."""

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import (
    ArgumentError,
    Contrast,
    Explanation,
    LrpHooksError,
    TargetError,
    TextError,
    compare,
    explain,
    instrument,
)
from lrp_hooks.sentiment import sentiment_model
from sequence_models import START, sequence_model, sequence_tokenizer, spectrogram

TOKENIZER = sequence_tokenizer()
TEXT, SAID = "the capital of France is", "Paris ."
TEXTS, BOTH = [TEXT, "a b"], ["Paris .", "one two three"]
SHAPES = ("T5", "T5 gated", "Bart", "Marian", "Bert2Bert")


@pytest.fixture(params=SHAPES)
def model(request):
    return sequence_model(request.param)


@pytest.fixture(scope="module")
def t5():
    return sequence_model("T5")


def ids(text):
    return torch.tensor([TOKENIZER(text)["input_ids"]])


def alone(model, text, said, target=None):
    """What `attribute` says of one text: the scores of both sides in a row."""
    words = TOKENIZER.convert_tokens_to_ids(said.split())
    batch = {
        "input_ids": ids(text),
        "decoder_input_ids": torch.tensor([[START, *words]]),
    }
    with instrument(model) as lrp:
        found = lrp.attribute(batch, target, wrt=["input_ids", "decoder_input_ids"])
    return torch.cat([scores[0] for scores in found.scores.values()]), found


def test_both_sides_have_scores(model):
    found = explain(model, TEXT, tokenizer=TOKENIZER, decoder=SAID)
    scores, expected = alone(model, TEXT, SAID)
    assert_close(found.scores[0], scores, rtol=1e-10, atol=1e-12)
    assert_close(found.output, expected.output)
    assert_close(found.ledger.total, found.output, rtol=0, atol=1e-10)
    assert_close(found.complete().sum(1), found.output, rtol=0, atol=1e-10)
    assert found.tokens == [[*TEXT.split(), "</s>", "<s>", "Paris", "."]]
    assert found.meta["special"] == [[False] * 5 + [True, True, False, False]]
    assert found.meta["segments"] == [[0] * 6 + [1] * 3]
    assert found.meta["task"] == "next token"
    assert found.attended.all() and found.attended.shape == found.scores.shape


def test_a_batch_is_each_text_alone(model):
    found = explain(model, TEXTS, tokenizer=TOKENIZER, decoder=BOTH)
    assert list(map(len, found.tokens)) == [9, 7] and found.scores.shape == (2, 9)
    for b, (text, said) in enumerate(zip(TEXTS, BOTH, strict=True)):
        scores, expected = alone(model, text, said)
        length = len(scores)
        assert_close(found.scores[b, :length], scores, rtol=1e-8, atol=1e-10)
        assert (found.scores[b, length:] == 0).all()
        assert found.attended[b].tolist() == [t < length for t in range(9)]
        assert_close(found.output[b], expected.output[0])
        assert found.ledger.sources.keys() == expected.ledger.sources.keys()
        for name, value in expected.ledger.sources.items():
            assert_close(found.ledger.sources[name][b], value[0], rtol=1e-8, atol=1e-10)
    assert found.target.tolist() == [
        int(alone(model, *pair)[1].target) for pair in zip(TEXTS, BOTH, strict=True)
    ]


def test_sides_of_equal_lengths_and_equal_ids():
    model = sequence_model("Bart")
    said = " ".join(TEXT.split())
    found = explain(model, TEXT, tokenizer=TOKENIZER, decoder=said)
    assert_close(found.scores[0], alone(model, TEXT, said)[0])
    same = ids(TEXT)
    for other in (same, same.clone()):
        batch = {"input_ids": same, "decoder_input_ids": other}
        with instrument(model) as lrp:
            both = lrp.attribute(batch, 5, wrt=["decoder_input_ids", "input_ids"])
            read = lrp.attribute(batch, 5)
        assert list(both.scores) == ["decoder_input_ids", "input_ids"]
        assert_close(both.scores["input_ids"], read.scores)
        assert_close(both.ledger.total, both.output)
        assert not both.ledger.positions


def test_nothing_said_explains_the_first_token(t5):
    found = explain(t5, TEXT, tokenizer=TOKENIZER)
    assert_close(found.scores[0], alone(t5, TEXT, "")[0])
    assert found.tokens[0][-1] == "<s>"
    with torch.no_grad():
        logits = t5(input_ids=ids(TEXT), decoder_input_ids=torch.tensor([[START]]))
    assert found.target.tolist() == [int(logits.logits[0, -1].argmax())]


@pytest.mark.parametrize(
    "given",
    [
        {"text": TEXT, "decoder": SAID},
        {"text": [TEXT], "decoder": [SAID]},
        {"decoder": SAID, "text": TEXT},
    ],
)
def test_a_mapping_is_the_same(t5, given):
    found = explain(t5, given, tokenizer=TOKENIZER)
    assert_close(found.scores[0], alone(t5, TEXT, SAID)[0])


def test_one_decoder_text_for_all(t5):
    found = explain(t5, TEXTS, tokenizer=TOKENIZER, decoder=SAID)
    assert_close(found.scores[1, :6], alone(t5, "a b", SAID)[0], rtol=1e-8, atol=1e-10)


def test_a_pair_and_what_was_said_of_it(t5):
    found = explain(t5, ("a b", "one two"), tokenizer=TOKENIZER, decoder=SAID)
    assert found.meta["segments"][0][-3:] == [2, 2, 2]
    assert found.meta["segments"][0][0] == 0
    assert_close(found.ledger.total, found.output, rtol=0, atol=1e-10)


def test_a_batch_of_ids_with_a_tokenizer(t5):
    words = TOKENIZER.convert_tokens_to_ids(SAID.split())
    batch = {
        "input_ids": ids(TEXT),
        "decoder_input_ids": torch.tensor([[START, *words]]),
    }
    found = explain(t5, batch, tokenizer=TOKENIZER)
    assert_close(found.scores[0], alone(t5, TEXT, SAID)[0])
    assert found.tokens[0][-3:] == ["<s>", "Paris", "."]
    bare = explain(t5, batch)
    assert_close(bare.scores[0], found.scores[0, :6])
    left = {
        "input_ids": torch.cat([torch.zeros(1, 2).long(), ids(TEXT)], 1),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]]),
        "decoder_input_ids": torch.tensor([[START, *words, 0]]),
        "decoder_attention_mask": torch.tensor([[1, 1, 1, 0]]),
    }
    padded = explain(sequence_model("T5"), left, tokenizer=TOKENIZER)
    assert padded.tokens[0][-3:] == ["<s>", "Paris", "."]
    assert padded.attended[0].tolist() == [False] * 2 + [True] * 9
    assert_close(padded.scores[0, 8:], found.scores[0, 6:], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("target", ["London", 8, ["London"], torch.tensor([8])])
def test_targets(t5, target):
    assert TOKENIZER.convert_tokens_to_ids("London") == 8
    found = explain(t5, TEXT, tokenizer=TOKENIZER, decoder=SAID, target=target)
    assert_close(found.scores[0], alone(t5, TEXT, SAID, 8)[0])
    assert found.targets == ["London"]


def test_a_contrast_of_names(t5):
    pair = Contrast("London", "Paris")
    found = explain(t5, TEXT, tokenizer=TOKENIZER, decoder=SAID, target=pair)
    assert_close(found.scores[0], alone(t5, TEXT, SAID, Contrast(8, 7))[0])
    assert found.targets == ["London rather than Paris"]


def test_renderings_words_and_files(t5, tmp_path):
    found = explain(t5, TEXTS, tokenizer=TOKENIZER, decoder=BOTH)
    assert found.words().tokens == found.tokens
    assert found.words().meta["segments"] == found.meta["segments"]
    assert found.to_html().count("London") == 0 and "Paris" in found.to_html()
    read = found.to_terminal(colour=True).partition("</s>")[2].partition("<s>")[0]
    assert read.count("\n") == 1
    assert len(found.to_dataframe()) == 9 + 7
    for name in ("a.json", "a.safetensors"):
        found.save(tmp_path / name)
        loaded = Explanation.load(tmp_path / name)
        assert loaded.tokens == found.tokens and loaded.to_html() == found.to_html()


def test_gradient_x_input_has_both_sides(t5):
    found = explain(
        t5, TEXT, "gradient_x_input", tokenizer=TOKENIZER, decoder=SAID, target=8
    )
    assert found.scores.shape == (1, 9) and found.method == "gradient_x_input"


@pytest.mark.parametrize("method", ["saliency", "smooth_grad", "leave_one_out"])
def test_other_methods_score_the_encoder(t5, method):
    options = {"tokenizer": TOKENIZER, "target": 8}
    options |= {"replace_with": "delete"} if method == "leave_one_out" else {}
    found = explain(t5, TEXT, method, decoder=SAID, **options)
    assert found.scores.shape == (1, 6) and found.tokens == [[*TEXT.split(), "</s>"]]
    assert not torch.equal(found.scores, explain(t5, TEXT, method, **options).scores)


def test_a_comparison_is_of_the_encoders_tokens(t5):
    found = compare(
        t5,
        {"text": TEXTS, "decoder": BOTH},
        ["lrp", "saliency"],
        tokenizer=TOKENIZER,
    )
    assert not found.failures and found.agreement().shape == (2, 2)
    assert found.explanations["lrp"].scores.shape == (2, 6)


def test_what_is_read_may_be_chosen(t5):
    found = explain(
        t5, TEXT, tokenizer=TOKENIZER, decoder=SAID, wrt="input_ids", target=8
    )
    assert_close(found.scores[0], alone(t5, TEXT, SAID, 8)[0][:6])
    assert found.tokens == [[*TEXT.split(), "</s>"]]


@pytest.mark.parametrize(
    ("inputs", "options", "error", "says"),
    [
        (TEXTS, {"decoder": ["a"]}, TextError, "1 texts for 2"),
        (TEXT, {"decoder": 3}, ArgumentError, "decoder is 3"),
        (TEXT, {"decoder": [3]}, ArgumentError, "decoder_input_ids"),
        (TEXT, {"decoder": " "}, TextError, "decoder is blank"),
        (TEXTS, {"decoder": ["a", ""]}, TextError, "decoder text 2 is blank"),
        (TEXT, {"decoder": "\ud800"}, TextError, "Unicode"),
        (TEXT, {"decoder": "a " * 24}, TextError, "25 tokens.*24 positions"),
        (TEXT, {"decoder": "a", "stride": 3}, ArgumentError, "stride=3"),
        ({"text": TEXT, "decoder": "a"}, {"decoder": "b"}, TextError, "both"),
        ({"input_ids": ids(TEXT)}, {"decoder": "b"}, ArgumentError, "holds none"),
        ({"text": TEXT, "said": "a"}, {}, TextError, "'decoder': ..."),
        (TEXT, {"target": "zzz"}, TargetError, "no single known token"),
        (TEXT, {"target": 999}, TargetError, "out of range"),
    ],
)
def test_bad_arguments(inputs, options, error, says):
    model = sequence_model("Bart")
    with pytest.raises(error, match=says) as caught:
        explain(model, inputs, tokenizer=TOKENIZER, **options)
    assert isinstance(caught.value, LrpHooksError)


def test_a_model_without_a_decoder_says_nothing():
    model, tokenizer = sentiment_model()
    with pytest.raises(ArgumentError, match="no such model that writes"):
        explain(model, TEXT, tokenizer=tokenizer, decoder="a")


def test_inputs_that_cannot_be_read_by_name(t5):
    batch = {
        "input_ids": ids(TEXT),
        "attention_mask": torch.ones_like(ids(TEXT)),
        "decoder_input_ids": torch.tensor([[START]]),
    }
    with instrument(t5) as lrp:
        with pytest.raises(ArgumentError, match="'attention_mask'.*no embedding"):
            lrp.attribute(batch, 5, wrt=["input_ids", "attention_mask"])
        with pytest.raises(ArgumentError, match="'decoder_ids'.*no module"):
            lrp.attribute(batch, 5, wrt="decoder_ids")
        mixed = lrp.attribute(batch, 5, wrt=["decoder_input_ids", "encoder.block.0"])
    assert mixed.values["encoder.block.0"].shape == (1, 6, 8)


@pytest.mark.parametrize("rules", ["gradient", "conservative"])
def test_several_inputs_of_several_examples_under_any_rules(t5, rules):
    batch = {
        "input_ids": torch.cat([ids(TEXT), ids("a b c d un")]),
        "decoder_input_ids": torch.tensor([[START, 3], [START, 4]]),
    }
    with instrument(t5, rules) as lrp:
        found = lrp.attribute(batch, 5, wrt=["input_ids", "decoder_input_ids"])
        for b in range(2):
            row = {name: value[b : b + 1] for name, value in batch.items()}
            single = lrp.attribute(row, 5, wrt=["input_ids", "decoder_input_ids"])
            for name, scores in single.scores.items():
                assert_close(found.scores[name][b], scores[0], rtol=1e-8, atol=1e-10)


def test_a_spectrogram_and_what_was_heard_so_far():
    model, features = sequence_model("Whisper"), spectrogram()
    batch = {
        "input_features": features,
        "decoder_input_ids": torch.tensor([[START, 4]]),
    }
    with instrument(model) as lrp:
        found = lrp.attribute(batch, 5, wrt=["input_features", "decoder_input_ids"])
        heard = lrp.attribute(batch, 5)
    assert_close(found.scores["input_features"], found.values["input_features"].sum(1))
    assert_close(heard.scores, found.scores["input_features"])
    assert heard.scores.shape == (1, 14) and heard.values.shape == (1, 5, 14)
    assert_close(found.ledger.total, found.output)
