"""Where sources and spans stand, which tokens are theirs, and what is refused."""

import pytest
import torch
from tokenizers import processors
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from generation_models import (
    Bag,
    language_model,
    merging_tokenizer,
    word_tokenizer,
)
from lrp_hooks import explain_answer
from lrp_hooks.answers.passages import members
from lrp_hooks.answers.reading import read_answer
from lrp_hooks.errors import ArgumentError, TextError, UnsupportedModelError
from lrp_hooks.generation.tokens import Prompt
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.support.passages import Passage
from tiny_bert import tiny_bert
from tokenizer_families import FAMILIES

PROMPT = "the capital of France is Paris ."
ANSWER = " London is a ."


def explained(prompt=PROMPT, answer=ANSWER, **options):
    return explain_answer(language_model(), word_tokenizer(), prompt, answer, **options)


def test_passages_stand_where_they_say():
    found = explained(sources="words", spans="tokens")
    for text, start, end in found.sources:
        assert found.prompt[start:end] == text
    for text, start, end in found.spans:
        assert found.answer[start:end] == text
    assert [p.text for p in found.sources] == PROMPT.split()
    assert "".join(p.text for p in found.spans) == ANSWER


def test_given_sources_come_in_their_order():
    found = explained(sources=["the capital", "France is"])
    assert found.sources == [("the capital", 0, 11), ("France is", 15, 24)]
    assert found.sources[1].start == 15


def test_a_text_that_stands_twice_is_found_twice():
    prompt = "a b a b"
    found = explained(prompt, sources=["a", "a"])
    assert [p.start for p in found.sources] == [0, 4]


def test_a_token_belongs_to_the_passage_of_its_first_letter():
    text = " ab cd\n ef"
    places = [(0, 0), (0, 3), (3, 5), (5, 6), (6, 8), (8, 10)]
    passages = [Passage("ab c", 1, 5), Passage("d\n ef", 5, 10)]
    assert members(text, places, passages).tolist() == [-1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_stand_where_their_text_stands(family):
    tokenizer = FAMILIES[family]()
    text, answer = "a gripping film.\nnot bad", " a film"
    prompt = Prompt(text, False, tokenizer(text, add_special_tokens=False))
    reading = read_answer(tokenizer, prompt, answer)
    whole = [reading.prompt] * reading.start + [reading.answer] * reading.count
    spelled = [t[a:b] for t, (a, b) in zip(whole, reading.places, strict=True)]
    assert "".join(spelled[: reading.start]).split() == text.split()
    assert "".join(spelled[reading.start :]).split() == answer.split()


CHAT = (
    "{% for m in messages %}<s> {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)


def test_sources_of_a_chat_are_what_people_wrote():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT
    messages = [
        {"role": "system", "content": "the capital ."},
        {"role": "user", "content": "London is Paris . \n Paris is a ."},
    ]
    found = explain_answer(language_model(), tokenizer, messages, "b c")
    texts = [p.text for p in found.sources]
    assert texts == ["the capital .", "London is Paris .", "Paris is a ."]
    assert all(found.prompt[a:b] == t for t, a, b in found.sources)
    assert float(found.ledger.error.max()) < 1e-10


def test_words_of_the_template_are_not_taken_for_what_was_said():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT.replace("<s>", "one <s>")
    found = explain_answer(
        *(language_model(), tokenizer, "one", "b c"), chat=True, sources="words"
    )
    assert found.prompt == "one <s> one </s> a "
    assert [tuple(p) for p in found.sources] == [("one", 8, 11)]


def test_a_template_that_trims_or_rewrites():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT.replace("m['content']", "m['content'] | trim")
    ask = [{"role": "user", "content": " a b . \n"}]
    found = explain_answer(language_model(), tokenizer, ask, "b c")
    assert [p.text for p in found.sources] == ["a b ."]
    tokenizer.chat_template = CHAT.replace("m['content']", "m['content'] | lower")
    ask = [{"role": "user", "content": "Paris is"}]
    found = explain_answer(language_model(), tokenizer, ask, "b c")
    assert [p.text for p in found.sources] == [found.prompt.strip()]


def test_special_tokens_of_an_answer_are_in_no_sentence():
    found = explained(answer=[6, 9, 1])
    assert found.answer.endswith("</s>")
    assert [p.text for p in found.spans] == [found.answer.removesuffix("</s>").strip()]
    assert explained(answer=[6, 9, 1], spans="all").spans[0].text == found.answer


BAD = {
    "a source that is not there": (
        {"sources": ["the capitol of France"]},
        r"sources\[0\] does not stand in the prompt: 'the capitol of France'. "
        "The closest is 'the capital of France is Paris .'",
    ),
    "sources out of order": (
        {"sources": ["France is", "the capital"]},
        r"sources\[1\] stands in the prompt, but begins before",
    ),
    "overlapping sources": (
        {"sources": ["the capital of", "of France"]},
        r"sources\[1\] stands in the prompt, but begins before",
    ),
    "no sources": ({"sources": []}, "sources is empty"),
    "a blank source": ({"sources": [" "]}, r"sources\[0\] is blank"),
    "sources of another type": ({"sources": [3]}, "texts that stand in the prompt"),
    "a unit that is none": ({"sources": "chapters"}, "sources='chapters' is no unit"),
    "a unit of prompts alone": ({"spans": "paragraphs"}, "spans='paragraphs' is no"),
    "a span that is not there": (
        {"spans": "Paris"},
        r"spans\[0\] does not stand in the answer: 'Paris'",
    ),
    "a blank answer": ({"answer": " "}, "answer is blank"),
    "an answer without ids": ({"answer": []}, "answer has no token id"),
    "an empty tensor": ({"answer": torch.tensor([])}, "answer has no token id"),
    "ids beyond the vocabulary": ({"answer": [999]}, "999"),
    "neither answer nor number": ({"answer": None}, "neither of them came"),
    "both": ({"max_new_tokens": 3}, "both of them came"),
    "no tokens to write": ({"answer": None, "max_new_tokens": 0}, "max_new_tokens=0"),
    "hops below nought": ({"hops": -1}, "hops=-1"),
    "hops that are no number": ({"hops": True}, "hops=True"),
    "a target that is none": ({"target": "loss"}, "target='loss' must be one of"),
    "a method that is none": ({"method": "shap"}, "method='shap' must be one of"),
    "hops of ablations": ({"method": "ablation", "hops": 1}, "Leave hops= out"),
    "no calls": ({"method": "ablation", "calls": 0}, "calls=0"),
    "an answer that is too long": ({"answer": [3] * 40}, "context has 32"),
    "a prompt that is too long": ({"prompt": "a " * 40}, "context has 32"),
    "a blank prompt": ({"prompt": " "}, "blank"),
    "a rule set that is none": ({"rules": "lrp"}, "lrp"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    options, message = BAD[name]
    with pytest.raises(ArgumentError, match=message):
        explained(**options)


def test_an_answer_that_joins_the_prompt_is_refused():
    model, tokenizer = language_model(vocab_size=12), merging_tokenizer()
    with pytest.raises(TextError, match="one token.*answer's beginning"):
        explain_answer(model, tokenizer, "aun", "do")


def test_models_that_write_nothing_are_refused():
    with pytest.raises(UnsupportedModelError, match="no language-model head"):
        explain_answer(Bag(), word_tokenizer(), PROMPT, ANSWER)
    with pytest.raises(UnsupportedModelError, match="no language-model head"):
        explain_answer(
            tiny_bert(BertForSequenceClassification), word_tokenizer(), PROMPT, ANSWER
        )


def test_models_of_masked_words_are_refused():
    model = tiny_bert(BertForMaskedLM)
    for given in ({"answer": [5, 6]}, {"max_new_tokens": 2}):
        with pytest.raises(UnsupportedModelError, match="one token after another"):
            explain_answer(model, sentiment_model()[1], "a film", **given)


def test_a_tokenizer_that_ends_the_prompt_is_told():
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    with pytest.raises(TextError, match="puts '</s>' behind the prompt"):
        explain_answer(language_model(), tokenizer, PROMPT, ANSWER)


def test_encoder_decoders_are_refused_with_what_explains_them():
    config = T5Config(
        vocab_size=21, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    with pytest.raises(UnsupportedModelError, match="explain_generation"):
        explain_answer(
            T5ForConditionalGeneration(config), word_tokenizer(), PROMPT, ANSWER
        )
