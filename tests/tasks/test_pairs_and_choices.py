"""Pairs of texts, choices, pipelines: what a model is given, and whose scores."""

import pytest
import torch
from transformers import BertForMultipleChoice, pipeline

from lrp_hooks import (
    ArgumentError,
    Contrast,
    TargetError,
    TextError,
    UnsupportedModelError,
    explain,
)
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

MODEL, TOKENIZER = sentiment_model()
PROMPT = ("the film is", ["a delight", "a bore", "bad"])


@pytest.fixture(scope="module")
def chooser():
    return tiny_bert(BertForMultipleChoice)


@pytest.mark.parametrize(
    "pair",
    [
        ("is it good ?", "it is"),
        [("is it good ?", "it is")],
        {"text": "is it good ?", "text_pair": "it is"},
        {"text": ["is it good ?"], "text_pair": ["it is"]},
    ],
)
def test_a_pair_is_what_the_tokenizer_makes_of_both(pair):
    found = explain(MODEL, pair, tokenizer=TOKENIZER)
    batch = TOKENIZER("is it good ?", "it is", return_tensors="pt")
    wanted = explain(MODEL, batch, tokenizer=TOKENIZER)
    assert torch.equal(found.scores, wanted.scores)
    assert found.tokens == [batch.tokens()]
    assert found.meta["segments"] == [[0, 0, 0, 0, 0, 0, 1, 1, 1]]


def test_pairs_and_texts_stand_in_one_list():
    mixed = explain(MODEL, [("is it good ?", "it is"), "it is"], tokenizer=TOKENIZER)
    alone = explain(MODEL, "it is", tokenizer=TOKENIZER)
    assert mixed.output[1].item() == pytest.approx(alone.output.item(), rel=1e-5)
    assert mixed.meta["segments"][1] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "inputs",
    [
        ("a", "b", "c"),
        [("a",), "b"],
        ["a", 1],
        {"text": "a", "pair": "b"},
        {"text": ["a", "b"], "text_pair": ["c"]},
        ("a", " "),
        ("a", ["b"]),
        [("a", ["b", "c"]), ("a", ["b", "c", "d"])],
        [],
    ],
)
def test_what_is_no_pair_is_refused(inputs):
    with pytest.raises(TextError):
        explain(MODEL, inputs, tokenizer=TOKENIZER)


def test_choices_have_the_scores_of_their_pairs(chooser):
    found = explain(chooser, PROMPT, tokenizer=TOKENIZER, target=1)
    assert found.scores.shape[:2] == (1, 3)
    batch = TOKENIZER(PROMPT[0], PROMPT[1][1], return_tensors="pt")
    alone = explain(
        chooser,
        {name: value[:, None] for name, value in batch.items()},
        target=0,
    )
    length = alone.scores.shape[-1]
    assert torch.allclose(found.scores[0, 1, :length], alone.scores[0, 0])
    assert not found.scores[0, [0, 2]].any()
    assert found.targets == ["choice 1"]
    assert found.output.item() == pytest.approx(alone.output.item())


def test_each_example_has_its_own_choices(chooser):
    batch = {
        "input_ids": torch.randint(5, 3000, (2, 2, 6)),
        "attention_mask": torch.ones(2, 2, 6, dtype=torch.long),
    }
    found = explain(chooser, batch, target=[1, 0])
    assert found.scores.shape == (2, 2, 6)
    assert found.ledger.error.max() < 1e-6
    assert torch.allclose(found.scores.sum((1, 2)), found.ledger.inputs)
    assert not found.scores[0, 0].any() and not found.scores[1, 1].any()


@pytest.mark.parametrize("bias", ["site", "equal", "first", "abs"])
def test_constants_of_a_choice_go_to_its_own_tokens(chooser, bias):
    prompts = [("the film is", ["bad", "a delight , a delight"]), ("it", ["is", "a b"])]
    found = explain(chooser, prompts, tokenizer=TOKENIZER, target=[0, 1])
    scores = found.complete(bias)
    assert torch.allclose(scores.sum((1, 2)), found.ledger.total, atol=1e-6)
    assert found.attended.shape == scores.shape and not found.attended.all()
    assert not scores[~found.attended].any()
    assert scores[0, 1].abs().max() < 1e-7 > scores[1, 0].abs().max()
    for row, (prompt, choices) in enumerate(prompts):
        batch = TOKENIZER(prompt, choices[row], return_tensors="pt")
        one = explain(chooser, {k: v[:, None] for k, v in batch.items()}, target=0)
        own = scores[row, row, : one.scores.shape[2]]
        torch.testing.assert_close(own, one.complete(bias)[0, 0], rtol=1e-4, atol=1e-6)


def test_choices_are_shown_one_by_one(chooser):
    found = explain(chooser, PROMPT, tokenizer=TOKENIZER)
    shown = found.to_terminal(colour=False)
    for number in range(3):
        assert f"choice {number}" in shown and f"choice {number}" in found.to_html()
    frame = found.to_dataframe()
    assert sorted(set(frame["input"])) == ["choice 0", "choice 1", "choice 2"]
    assert frame["score"].sum() == pytest.approx(found.scores.sum().item())


def test_a_pipeline_brings_its_tokenizer():
    pipe = pipeline("text-classification", model=MODEL, tokenizer=TOKENIZER)
    found = explain(pipe, "a good film")
    assert torch.equal(
        found.scores, explain(MODEL, "a good film", "lrp", TOKENIZER).scores
    )
    with pytest.raises(ArgumentError, match=r"or a transformers\.pipeline"):
        explain("a model", "a good film")


def test_perturbed_pairs_keep_each_token_on_its_side():
    seen = []

    def note(module, args, kwargs):
        seen.append({name: value.clone() for name, value in kwargs.items()})

    pair = ("a good film", "it is dull")
    batch = TOKENIZER(*pair, return_tensors="pt", return_token_type_ids=True)
    handle = MODEL.register_forward_pre_hook(note, with_kwargs=True)
    try:
        explain(MODEL, batch, "slalom", TOKENIZER)
    finally:
        handle.remove()
    assert len(seen) > 1
    for call in seen:
        for ids, types in zip(call["input_ids"], call["token_type_ids"], strict=True):
            end = ids.tolist().index(TOKENIZER.sep_token_id)
            assert types.tolist() == [int(place > end) for place in range(len(ids))]


def test_the_texts_of_a_pair_are_shown_apart():
    found = explain(MODEL, ("is it unbelievable ?", "it is"), tokenizer=TOKENIZER)
    lines = found.to_terminal(colour=True).splitlines()
    (first,) = [line for line in lines if "CLS" in line]
    (second,) = [
        line for line in lines if "it" in line and "is" in line and "[CLS]" not in line
    ]
    assert first != second
    words = found.words()
    assert words.tokens == [
        ["[CLS]", "is", "it", "unbelievable", "?", "[SEP]", "it", "is", "[SEP]"]
    ]
    assert words.meta["segments"] == [[0, 0, 0, 0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("target", ["choice 1", "Choice 1", ["choice 1"], 1])
def test_a_choice_has_a_number_and_a_name(chooser, target):
    found = explain(chooser, PROMPT, "gradient_x_input", TOKENIZER, target)
    assert found.targets == ["choice 1"]
    wanted = explain(chooser, PROMPT, "gradient_x_input", TOKENIZER, 1)
    assert torch.equal(found.scores, wanted.scores)


def test_a_contrast_of_named_choices(chooser):
    named = Contrast("choice 0", "choice 2")
    found = explain(chooser, PROMPT, tokenizer=TOKENIZER, target=named)
    assert found.targets == ["choice 0 rather than choice 2"]
    logits = [
        explain(chooser, PROMPT, "lrp", TOKENIZER, target).output for target in (0, 2)
    ]
    assert found.output.item() == pytest.approx((logits[0] - logits[1]).item())


@pytest.mark.parametrize("target", ["choice 3", "LABEL_0", "a bore"])
def test_no_other_name_is_a_choice(chooser, target):
    says = f"target={target!r} is none of the choices, .*'choice 0', 'choice 1', 'choi"
    with pytest.raises(TargetError, match=says):
        explain(chooser, PROMPT, tokenizer=TOKENIZER, target=target)


def test_a_token_of_a_choice_is_left_out_in_a_loop(chooser):
    prompts = [PROMPT, ("bad", ["film", "a delight", "it"])]
    targets, mask = [1, 0], TOKENIZER.mask_token_id
    found = explain(chooser, prompts, "leave_one_out", TOKENIZER, targets)
    special = {TOKENIZER.cls_token_id, TOKENIZER.sep_token_id}
    for row, (prompt, choices) in enumerate(prompts):
        chosen = choices[targets[row]]
        batch = TOKENIZER(prompt, chosen, return_tensors="pt")
        batch = {name: value[:, None] for name, value in batch.items()}
        for place, i in enumerate(batch["input_ids"][0, 0].tolist()):
            ids = batch["input_ids"].clone()
            ids[0, 0, place] = i if i in special else mask
            with torch.no_grad():
                whole = chooser(**batch).logits
                loss = whole - chooser(**{**batch, "input_ids": ids}).logits
            assert found.scores[row, targets[row], place].item() == pytest.approx(
                loss.item(), abs=1e-9
            )
    others = found.scores[[0, 0, 1, 1], [0, 2, 1, 2]]
    assert others.abs().max() < 1e-9


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "shapley_value_sampling"])
def test_choices_are_perturbed_but_for_padding(chooser, method):
    prompt = ("bad", ["it", "a delight it is"])
    found = explain(chooser, prompt, method, TOKENIZER, 0, n_samples=40)
    (tokens,), (special,) = found.meta["choices"], found.meta["special"]
    for number, row in enumerate(found.scores[0]):
        own = torch.tensor(special[number])
        assert not row[: len(own)][own].any() and not row[len(own) :].any()
    assert found.scores.shape == (1, 2, max(map(len, tokens)))


def test_choices_start_from_a_baseline_of_tokens(chooser):
    found = explain(
        *(chooser, PROMPT, "integrated_gradients", TOKENIZER, 1),
        baseline="mask",
        n_steps=200,
    )
    batch = TOKENIZER(PROMPT[0], PROMPT[1][1], return_tensors="pt")
    plain = ~torch.isin(batch["input_ids"], torch.tensor(TOKENIZER.all_special_ids))
    masked = torch.where(plain, TOKENIZER.mask_token_id, batch["input_ids"])
    with torch.no_grad():
        whole, none = (
            chooser(ids[:, None], batch["attention_mask"][:, None]).logits.item()
            for ids in (batch["input_ids"], masked)
        )
    assert found.scores.sum().item() == pytest.approx(whole - none, abs=1e-3)


def test_what_cannot_follow_several_texts_says_so(chooser):
    for method in ("decompx", "attention_rollout", "globenc", "slalom"):
        with pytest.raises(UnsupportedModelError, match="chooses among several"):
            explain(chooser, PROMPT, method, TOKENIZER)
    with pytest.raises(ArgumentError, match="'delete' shortens one of several"):
        explain(chooser, PROMPT, "lime", TOKENIZER, replace_with="delete")
