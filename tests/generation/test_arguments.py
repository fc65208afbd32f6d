"""What is explained: prompts, continuations, contrasts; and what is refused."""

import pytest
import torch
import transformers
from torch.testing import assert_close

from generation_models import (
    SHARED_SIZES,
    VOCABULARY,
    language_model,
    merging_tokenizer,
    word_tokenizer,
)
from lrp_hooks import (
    AlreadyInstrumentedError,
    ArgumentError,
    LrpHooksError,
    TargetError,
    TextError,
    UnsupportedModelError,
    explain_generation,
    instrument,
)
from lrp_hooks.generation.tokens import contrast_ids

TOKENIZER, MERGING = word_tokenizer(), merging_tokenizer()
PROMPT = "the capital of France is"


@pytest.fixture(scope="module")
def model():
    return language_model()


@pytest.fixture(scope="module")
def merging_model():
    return language_model(vocab_size=len(MERGING))


def explain(model, prompt=PROMPT, tokenizer=TOKENIZER, **options):
    return explain_generation(model, tokenizer, prompt, **options)


def test_the_models_own_greedy_text(model):
    ids = torch.tensor([TOKENIZER(PROMPT)["input_ids"]])
    for _ in range(4):  # without a cache, step by step
        with torch.no_grad():
            chosen = model(ids).logits[:, -1].argmax(-1)
        ids = torch.cat([ids, chosen[:, None]], 1)
    model.generation_config.do_sample = True  # as some folders have it
    try:
        found = explain(model, max_new_tokens=4)
    finally:
        model.generation_config.do_sample = False
    assert found.target.tolist() == ids[0, 5:].tolist()
    assert found.prompt == 5 and len(found.generated) == 4
    assert found.tokens == [TOKENIZER.convert_ids_to_tokens(ids[0].tolist())] * 4
    assert found.attended.tolist() == [[c < 5 + t for c in range(9)] for t in range(4)]


def test_the_model_writes_uninstrumented():
    seen = []
    model = language_model()
    generate = model.generate
    model.generate = lambda **k: seen.append("forward" in vars(model)) or generate(**k)
    explain(model, max_new_tokens=1)
    assert seen == [False]


def test_generation_stops_where_the_model_ends_the_text(model):
    third = explain(model, max_new_tokens=3).target.tolist()[-1]
    ended = language_model()
    ended.generation_config.eos_token_id = third
    found = explain(ended, max_new_tokens=9)
    assert found.target.tolist().index(third) == len(found.generated) - 1 <= 2


def test_a_text_and_its_ids_are_the_same_continuation(model):
    texts = explain(model, continuation=" Paris .")
    ids = TOKENIZER.convert_tokens_to_ids(["Paris", "."])
    for given in (ids, tuple(ids), torch.tensor(ids), torch.tensor([ids])):
        found = explain(model, continuation=given)
        assert_close(found.scores, texts.scores)
        assert found.generated == ["Paris", "."]
    assert texts.meta["merged"] == 0


def test_tokens_that_merge_across_the_border(merging_model):
    found = explain(merging_model, "d un", MERGING, continuation="do a")
    # "Ġ" and "un" end the prompt; "undo" is one token.
    assert MERGING.tokenize("d un") == ["d", "Ġ", "un"]
    assert found.generated == ["undo", "Ġa"]
    assert found.prompt == 2 and found.meta["merged"] == 1
    plain = explain(merging_model, "d un", MERGING, continuation=" a")
    assert plain.generated == ["Ġa"] and plain.meta["merged"] == 0
    with pytest.raises(TextError, match="first token"):
        explain(merging_model, "un", MERGING, continuation="do")


def test_a_chat(model):
    tokenizer = word_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<s> {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}three{% endif %}"
    )
    message = {"role": "user", "content": "one two"}
    for found in (
        explain(model, "one two", tokenizer, chat=True, continuation=" Paris"),
        explain(model, [message], tokenizer, continuation=" Paris"),
    ):
        assert found.tokens[0] == ["<s>", "one", "two", "three", "Paris"]
        assert found.special == [True, False, False, False, False]
    with pytest.raises(TextError, match="chat template"):
        explain(model, "one", chat=True, max_new_tokens=1)


def test_contrasts(model):
    ids = TOKENIZER.convert_tokens_to_ids(["Paris", "London", "."])
    options = {"continuation": [ids[0], ids[2]]}
    by_text = explain(model, contrast="London", **options)
    assert by_text.target.b.tolist() == [ids[1]] * 2
    assert by_text.targets == ["Paris rather than London", ". rather than London"]
    for given in (ids[1], torch.tensor(ids[1]), [ids[1], "London"]):
        assert_close(explain(model, contrast=given, **options).scores, by_text.scores)
    plain = explain(model, **options)
    text = torch.tensor([TOKENIZER(PROMPT)["input_ids"] + options["continuation"]])
    with torch.no_grad():
        logits = model(text).logits[0, 4:6]
    assert_close(by_text.output, plain.output - logits[:, ids[1]])


def test_a_contrast_of_several_tokens_says_which_it_uses(model):
    with pytest.warns(UserWarning, match=r"3 tokens.*the first one, 'London'"):
        found = explain(model, contrast="London is a", max_new_tokens=2)
    assert found.targets[0].endswith("rather than London")


def test_a_contrast_that_the_tokenizer_does_not_know_is_refused():
    tokenizer = word_tokenizer()
    tokenizer.unk_token = "one"
    unknown = tokenizer.convert_tokens_to_ids("one")
    tokenizer.backend_tokenizer.model.unk_token = "one"
    assert contrast_ids(tokenizer, "one", 1, 99) == [unknown]
    with pytest.raises(TargetError, match="'zzz' is unknown to the tokenizer"):
        contrast_ids(tokenizer, "zzz", 1, 99)


class Pieces:
    """Tells the space before a word as a token of its own, as some vocabularies do."""

    names = ("▁", "▁Lily", "ĠParis", "P", "aris", "s")

    def __call__(self, text, **_):
        return {
            "input_ids": {
                " Lily": [0, 1],
                " ": [0],
                "ĠParis": [3, 4],
                "Paris": [3, 4],
                "": [],
            }[text]
        }

    def convert_ids_to_tokens(self, ids):
        return [self.names[i] for i in ids]

    def get_vocab(self):
        return {name: i for i, name in enumerate(self.names)}


def test_what_a_text_means_as_a_contrast():
    assert contrast_ids(Pieces(), " Lily", 2, 9) == [1, 1]
    assert contrast_ids(Pieces(), " ", 1, 9) == [0]
    assert contrast_ids(Pieces(), "ĠParis", 1, 9) == [2]  # spelled as the vocabulary
    with pytest.warns(UserWarning, match="'P' 'aris'; the first one, 'P'"):
        assert contrast_ids(Pieces(), "Paris", 1, 9) == [3]
    with pytest.raises(TargetError, match="no token"):
        contrast_ids(Pieces(), "", 1, 9)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, ArgumentError, "neither"),
        ({"max_new_tokens": 1, "continuation": " a"}, ArgumentError, "both"),
        ({"max_new_tokens": 0}, ArgumentError, "max_new_tokens=0"),
        ({"max_new_tokens": -3}, ArgumentError, "max_new_tokens=-3"),
        ({"max_new_tokens": True}, ArgumentError, "max_new_tokens=True"),
        ({"max_new_tokens": 1.5}, ArgumentError, "max_new_tokens=1.5"),
        ({"max_new_tokens": 2, "chunk": 0}, ArgumentError, "chunk=0"),
        ({"max_new_tokens": 28}, TextError, "32"),
        ({"continuation": [3] * 28}, TextError, "33"),
        ({"continuation": ""}, TextError, "no token"),
        ({"continuation": []}, TextError, "no token"),
        ({"continuation": [VOCABULARY]}, ArgumentError, str(VOCABULARY)),
        ({"continuation": [-1]}, ArgumentError, "-1"),
        ({"continuation": [0.5]}, ArgumentError, "whole numbers"),
        ({"continuation": 7}, ArgumentError, "whole numbers"),
        ({"continuation": " \ud800"}, TextError, "Unicode"),
        ({"max_new_tokens": 2, "contrast": VOCABULARY}, TargetError, "out of range"),
        ({"max_new_tokens": 2, "contrast": -1}, TargetError, "out of range"),
        ({"max_new_tokens": 2, "contrast": [2]}, TargetError, "1 entries for 2"),
        ({"max_new_tokens": 2, "contrast": 2.5}, TargetError, "float"),
        ({"max_new_tokens": 2, "rules": "nonsense"}, ArgumentError, "nonsense"),
        ({"prompt": "", "max_new_tokens": 1}, TextError, "blank"),
        ({"prompt": " \n", "max_new_tokens": 1}, TextError, "blank"),
        ({"prompt": [], "max_new_tokens": 1}, TextError, "messages"),
        ({"prompt": None, "max_new_tokens": 1}, TextError, "messages"),
        ({"prompt": "a \udc00", "max_new_tokens": 1}, TextError, "Unicode"),
        ({"prompt": "a " * 33, "max_new_tokens": 1}, TextError, "33 tokens"),
        ({"tokenizer": None, "max_new_tokens": 1}, ArgumentError, "tokenizer"),
    ],
)
def test_bad_arguments(model, options, error, says):
    with pytest.raises(error, match=says) as caught:
        explain(model, **options)
    assert isinstance(caught.value, LrpHooksError)


def test_a_text_that_just_fits(model):
    assert len(explain(model, max_new_tokens=27).generated) == 27


@pytest.mark.parametrize("size", [4, 99])
def test_a_tokenizer_of_another_model(model, size):
    words = [f"w{i}" for i in range(size)]
    with pytest.raises(ArgumentError, match="do not belong together"):
        explain(model, "w2 w3", word_tokenizer(words), max_new_tokens=1)


def test_models_that_write_no_text():
    config = transformers.LlamaConfig(**SHARED_SIZES)
    headless = transformers.LlamaModel(config)
    with pytest.raises(UnsupportedModelError, match="language-model head"):
        explain(headless, max_new_tokens=1)
    with pytest.raises(UnsupportedModelError, match="language-model head"):
        explain(torch.nn.Linear(2, 2), max_new_tokens=1)
    with pytest.raises(ArgumentError, match=r"torch\.nn\.Module"):
        explain("a model", max_new_tokens=1)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    bert = transformers.BertConfig(**{name: SHARED_SIZES[name] for name in names})
    masked = transformers.BertForMaskedLM(bert).eval()
    with pytest.raises(UnsupportedModelError, match="cannot generate"):
        explain(masked, max_new_tokens=1)
    with pytest.raises(UnsupportedModelError, match="not causal"):
        explain(masked, continuation=" Paris London")


def test_an_instrumented_model_is_refused_before_it_writes():
    seen = []
    model = language_model()
    model.generate = lambda **k: seen.append(k)
    with instrument(model), pytest.raises(AlreadyInstrumentedError):
        explain(model, max_new_tokens=1)
    assert not seen
