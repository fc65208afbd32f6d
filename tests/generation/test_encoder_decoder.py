"""Rows of encoder-decoders: the encoder's tokens, then those that are written."""

import pytest
import torch
from torch.testing import assert_close

from generation_models import VOCABULARY
from lrp_hooks import (
    ArgumentError,
    Explanation,
    LrpHooksError,
    TargetError,
    TextError,
    UnruledWarning,
    UnsupportedModelError,
    explain_generation,
)
from sequence_models import (
    CLOSE,
    END,
    START,
    TEXT_SHAPES,
    assert_rows_are_prefixes,
    sequence_model,
    sequence_tokenizer,
    spectrogram,
)

TOKENIZER = sequence_tokenizer()
PROMPT = "the capital of France is"


def explain(model, prompt=PROMPT, tokenizer=TOKENIZER, **options):
    return explain_generation(model, tokenizer, prompt, **options)


def encoded(prompt=PROMPT):
    return {"input_ids": torch.tensor([TOKENIZER(prompt)["input_ids"]])}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", TEXT_SHAPES)
def test_every_shape(shape, dtype):
    model = sequence_model(shape, dtype)
    found = explain(model, max_new_tokens=5)
    assert found.scores.shape == (5, 12) and found.scores.dtype == dtype
    assert found.meta["chunk"] == 4 and found.meta["backward_passes"] == 2
    assert found.encoder == 6 and found.prompt == 7 and len(found.generated) == 5
    assert found.tokens[0][:7] == [*PROMPT.split(), "</s>", "<s>"]
    assert found.special[:7] == [False] * 5 + [True] * 2
    assert found.attended.tolist() == [[c < 7 + t for c in range(12)] for t in range(5)]
    assert_close(found.ledger.total, found.output, rtol=0, atol=CLOSE[dtype])
    assert_rows_are_prefixes(model, found, encoded())


@pytest.mark.parametrize("length", [4, 5, 6, 7])
def test_sides_of_any_two_lengths(length):
    # Of six tokens in the encoder, and as many or others in the decoder.
    model = sequence_model("Bart")
    found = explain(model, continuation=range(2, 2 + length))
    assert found.scores.shape == (length, 7 + length)
    assert_close(found.ledger.total, found.output, rtol=0, atol=1e-10)
    assert_rows_are_prefixes(model, found, encoded())


@pytest.mark.parametrize("rules", ["gradient", "attnlrp", "cp-lrp"])
def test_every_rule_set(rules):
    model = sequence_model()
    found = explain(model, max_new_tokens=3, rules=rules)
    assert_rows_are_prefixes(model, found, encoded(), rules=rules)
    assert found.meta["rules"] == rules


@pytest.mark.parametrize("shape", ["T5 gated", "Bart", "Whisper"])
def test_chunks_agree(shape):
    model = sequence_model(shape)
    prompt = spectrogram() if shape == "Whisper" else PROMPT
    text = {"continuation": [3, 4, 5, 6, 7]}
    each = [explain(model, prompt, chunk=chunk, **text) for chunk in (1, 2, 5)]
    for found in each[1:]:
        assert_close(found.scores, each[0].scores, rtol=1e-12, atol=1e-12)
        for name, values in each[0].ledger.sources.items():
            assert_close(found.ledger.sources[name], values, rtol=1e-9, atol=1e-12)


def test_a_row_of_the_gradient_rule_set_by_brute_force():
    model = sequence_model("Bart")
    found = explain(model, continuation=[5, 6], rules="gradient")
    table = model.get_input_embeddings().weight.detach()
    places = table[torch.cat([encoded()["input_ids"], torch.tensor([[START, 5]])], 1)]

    def logit(scale):
        read, said = (places * scale[:, None]).split([6, 2], 1)
        out = model(inputs_embeds=read, decoder_inputs_embeds=said, use_cache=False)
        return out.logits[0, 1, 6]

    one, step = torch.ones(8, dtype=torch.float64), 1e-6
    moves = torch.eye(8, dtype=torch.float64) * step
    with torch.no_grad():
        slopes = [(logit(one + m) - logit(one - m)) / (2 * step) for m in moves]
    assert_close(found.scores[1, :8], torch.stack(slopes), rtol=1e-6, atol=1e-7)


def test_the_models_own_greedy_text():
    model = sequence_model()
    decoder = torch.tensor([[START]])
    for _ in range(4):
        with torch.no_grad():
            logits = model(**encoded(), decoder_input_ids=decoder).logits
        decoder = torch.cat([decoder, logits[:, -1].argmax(-1)[:, None]], 1)
    assert explain(model, max_new_tokens=4).target.tolist() == decoder[0, 1:].tolist()


def test_the_end_is_explained_where_the_model_wrote_it():
    model = sequence_model()
    third = explain(model, max_new_tokens=3).target.tolist()[-1]
    model.generation_config.eos_token_id = third
    found = explain(model, max_new_tokens=9)
    assert found.target.tolist().index(third) == len(found.generated) - 1 <= 2


def test_forced_tokens_have_rows():
    model = sequence_model("MBart")
    model.generation_config.forced_bos_token_id = 9
    found = explain(model, max_new_tokens=3)
    assert found.target.tolist()[0] == 9 and len(found.generated) == 3
    assert_rows_are_prefixes(model, found, encoded())


@pytest.mark.parametrize(
    ("template", "before"),
    [("$A </s>", []), ("one $A </s>", ["one"]), ("<s> $A </s>", []), ("$A", [])],
)
def test_a_text_is_tokenised_as_a_target(template, before):
    model, tokenizer = sequence_model(), sequence_tokenizer(template)
    found = explain(model, tokenizer=tokenizer, continuation="Paris London")
    assert found.generated == [*before, "Paris", "London"]
    assert found.tokens[0][:7] == [*PROMPT.split(), "</s>", "<s>"]
    ids = tokenizer.convert_tokens_to_ids([*before, "Paris", "London"])
    for given in (ids, tuple(ids), torch.tensor([ids])):
        assert_close(explain(model, continuation=given).scores, found.scores)
    assert explain(model, continuation=[*ids, END]).generated[-1] == "</s>"


def test_contrasts():
    model = sequence_model("Bart")
    ids = TOKENIZER.convert_tokens_to_ids(["Paris", "London", "."])
    found = explain(model, continuation=[ids[0], ids[2]], contrast="London")
    assert found.targets == ["Paris rather than London", ". rather than London"]
    assert_close(found.ledger.total, found.output, rtol=0, atol=1e-10)
    assert_rows_are_prefixes(model, found, encoded())


def test_words():
    model = sequence_model()
    found = explain(model, continuation=[3, 4, 5])
    words = found.words()
    assert words.encoder == 6 and words.prompt == 7
    assert words.tokens == found.tokens
    assert_close(words.scores, found.scores)


def test_words_of_pieces():
    tokenizer = sequence_tokenizer()
    model = sequence_model()
    found = explain(model, tokenizer=tokenizer, continuation=[3, 4, 5])
    parts = [["the", " cap", "ital", " of", " France", "", "", " un", "do", " a"]]
    found.meta["pieces"] = parts * 3
    words = found.words()
    before = ["the", "capital", "of", "France", "</s>", "<s>"]
    assert words.tokens[0] == [*before, "undo", "a"]
    assert words.encoder == 5 and words.prompt == 6
    assert_close(words.output, torch.stack([found.output[:2].sum(), found.output[2]]))
    assert_close(words.ledger.total, words.output)
    assert words.attended.tolist() == [[True] * 6 + [True, False], [True] * 7 + [False]]


def test_files_and_tables(tmp_path):
    found = explain(sequence_model(), max_new_tokens=3)
    for name in ("a.safetensors", "a.json"):
        found.save(tmp_path / name)
        loaded = Explanation.load(tmp_path / name)
        assert torch.equal(loaded.scores, found.scores)
        assert (loaded.encoder, loaded.prompt) == (6, 7)
        assert loaded.to_html() == found.to_html()
    pytest.importorskip("pandas")
    assert set(found.to_dataframe()["token"]) == set(found.tokens[0])


def test_the_decoder_begins_a_line():
    found = explain(sequence_model(), continuation=[3, 4])
    assert found.view().breaks == [0] * 6 + [1, 0, 0]
    assert found.view().encoder == 6
    assert found.to_html().count("&#10;<span") == 1
    read = found.to_terminal(colour=True).rpartition("</s>")[2].partition("<s>")[0]
    assert read.count("\n") == 1
    pytest.importorskip("matplotlib")
    lines = found.plot().axes[0].lines
    assert sorted(line.get_xdata()[0] for line in lines) == [5.5, 6.5]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, ArgumentError, "neither"),
        ({"max_new_tokens": 24}, TextError, "25.*24 positions"),
        ({"continuation": [3] * 24}, TextError, "25.*24 positions"),
        ({"continuation": ""}, TextError, "continuation is blank"),
        ({"continuation": "\ud800"}, TextError, "Unicode"),
        ({"continuation": []}, TextError, "no token"),
        ({"continuation": [VOCABULARY]}, ArgumentError, str(VOCABULARY)),
        ({"continuation": [0.5]}, ArgumentError, "whole numbers"),
        ({"max_new_tokens": 2, "contrast": VOCABULARY}, TargetError, "out of range"),
        ({"max_new_tokens": 1, "chat": True}, TextError, "chat template"),
        ({"prompt": "", "max_new_tokens": 1}, TextError, "blank"),
        ({"prompt": {"input_ids": 3}, "max_new_tokens": 1}, TextError, "messages"),
        ({"prompt": "a " * 24, "max_new_tokens": 1}, TextError, "25 tokens.*24 pos"),
        ({"tokenizer": None, "max_new_tokens": 1}, ArgumentError, "tokenizer"),
    ],
)
def test_bad_arguments(options, error, says):
    with pytest.raises(error, match=says) as caught:
        explain(sequence_model("Bart"), **options)
    assert isinstance(caught.value, LrpHooksError)


def test_a_text_that_just_fits():
    found = explain(sequence_model("Bart"), "a " * 23, max_new_tokens=23)
    assert found.encoder == 24 and len(found.generated) == 23


def test_a_decoder_without_a_start_is_refused():
    model = sequence_model()
    model.config.decoder_start_token_id = None
    model.generation_config.decoder_start_token_id = None
    with pytest.raises(LrpHooksError, match="decoder_start_token_id"):
        explain(model, max_new_tokens=1)


def test_a_decoder_that_looks_ahead_is_refused():
    model = sequence_model("Bert2Bert")
    model.decoder.bert.config.is_decoder = False
    for layer in model.decoder.bert.encoder.layer:
        layer.attention.self.is_causal = False
    with pytest.raises(UnsupportedModelError, match="causal"):
        explain(model, continuation=[3, 4])


def test_an_encoder_that_is_not_heard_is_told_of():
    model = sequence_model()
    model.encoder.final_layer_norm.forward = lambda x: x.detach()
    with pytest.warns(UnruledWarning, match="no gradient reaches 'input_ids'"):
        found = explain(model, continuation=[3, 4])
    assert (found.scores[:, :6] == 0).all() and (found.scores[1, 6:8] != 0).any()


def test_the_model_is_left_as_it_was():
    model = sequence_model().train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    explain(model, max_new_tokens=2)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
