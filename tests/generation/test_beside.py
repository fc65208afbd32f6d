"""What stands beside a text, a picture or a sound, has columns of its own."""

import pytest
import torch
from torch.testing import assert_close

from generation_models import word_tokenizer
from lrp_hooks import ArgumentError, explain_answer, explain_generation, instrument
from modalities import CASES, model_of

WORDS = ["<s>", "</s>", "<pad>", "<image>", *(f"w{n}" for n in range(4, 64))]
TOKENIZER = word_tokenizer(WORDS)
NAMES = [
    "llava",
    "qwen2-vl",
    "qwen2.5-vl",
    "qwen3-vl",
    "idefics3",
    "qwen2-audio",
    "git",
]


class Processor:
    """Makes the inputs of a case, whatever it is shown."""

    tokenizer = TOKENIZER

    def __init__(self, made):
        self.made = made

    def __call__(self, text, return_tensors, **beside):
        assert text == "w9 w8" and return_tensors == "pt" and beside
        return self.made


def given(name):
    """A model, and what a processor makes of one text and what stands beside it."""
    model = model_of(CASES[name])
    inputs = CASES[name].inputs(model)
    cut = {k: v[:1] for k, v in inputs.items()}
    if "image_grid_thw" in inputs:
        rows = int(inputs["image_grid_thw"][0].prod())
        cut["pixel_values"] = inputs["pixel_values"][:rows]
    cut.pop("feature_attention_mask", None) if name == "qwen2-audio" else None
    if name == "qwen2-audio":
        cut["feature_attention_mask"] = inputs["feature_attention_mask"][:1]
    return model, cut


def longer(inputs, more):
    """The inputs with tokens behind the text."""
    length = inputs["input_ids"].shape[1]
    made = dict(inputs)
    for key, value in inputs.items():
        if value.shape == (1, length):
            fill = (
                torch.tensor([more])
                if key == "input_ids"
                else torch.zeros(1, len(more))
            )
            fill = torch.ones(1, len(more)) if key == "attention_mask" else fill
            made[key] = torch.cat([value, fill.to(value)], 1)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_the_relevance_of_its_prefix(name):
    model, inputs = given(name)
    found = explain_generation(model, TOKENIZER, inputs, continuation=[7, 9, 8])
    beside = next(key for key in CASES[name].scores if key != "input_ids")
    length = inputs["input_ids"].shape[1]
    assert found.prompt == found.encoder + length
    with instrument(model) as lrp:
        for t, token in enumerate([7, 9, 8]):
            alone = lrp.attribute(longer(inputs, [7, 9, 8][:t]), token)
            sums = alone.scores[beside].sum()
            assert_close(found.scores[t, : found.encoder].sum(), sums)
            text = found.scores[t, found.encoder : found.prompt + t]
            assert_close(text, alone.scores["input_ids"][0])
            assert_close(found.output[t], alone.output[0])
            assert_close(found.ledger.total[t], alone.output[0])


def test_columns_are_the_models_patches():
    model, inputs = given("llava")
    found = explain_generation(model, TOKENIZER, inputs, continuation=[7, 9])
    with instrument(model) as lrp:
        alone = lrp.attribute(inputs, 7).patches().scores["pixel_values"][0]
    assert found.pictures.shape == (2, *alone.shape)
    assert_close(found.pictures[0], alone)
    assert found.tokens[0][:2] == ["patch 0,0", "patch 0,1"]
    assert "patch 3,3" in found.to_html() and found.to_terminal()
    assert found.words().pictures.shape == found.pictures.shape


def test_columns_of_merged_patches_are_their_tokens():
    model, inputs = given("qwen2-vl")
    found = explain_generation(model, TOKENIZER, inputs, continuation=[7])
    with instrument(model) as lrp:
        alone = lrp.attribute(inputs, 7).scores["pixel_values"][0]
    merged = 2 * model.config.vision_config.patch_size
    cells = alone.unfold(0, merged, merged).unfold(1, merged, merged).sum((2, 3))
    assert_close(found.pictures[0], cells)


@pytest.mark.parametrize("form", ["tuple", "mapping", "processor as tokenizer"])
def test_a_processor_makes_the_inputs(form):
    model, inputs = given("llava")
    processor, picture = Processor(inputs), object()
    prompt = {"text": "w9 w8", "images": picture}
    prompt = (picture, "w9 w8") if form == "tuple" else prompt
    tokenizer = processor if form.startswith("processor") else None
    options = {} if tokenizer else {"processor": processor}
    found = explain_generation(
        model, tokenizer, prompt, continuation="w7 w9", **options
    )
    plain = explain_generation(model, TOKENIZER, inputs, continuation=[7, 9])
    assert_close(found.scores, plain.scores)


def test_a_model_writes_of_what_it_sees():
    model, inputs = given("llava")
    found = explain_generation(model, TOKENIZER, inputs, max_new_tokens=3)
    given_ids = inputs["input_ids"].shape[1]
    written = model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, given_ids:]
    assert found.target.tolist() == written.tolist()


def test_what_is_missing_is_named():
    model, inputs = given("llava")
    with pytest.raises(ArgumentError, match="pass processor="):
        explain_generation(model, TOKENIZER, (object(), "w9"), continuation=[7])
    ids = {"input_ids": inputs["input_ids"]}
    with pytest.raises(ArgumentError, match="an image or a sound beside it"):
        explain_generation(model, TOKENIZER, ids, continuation=[7])


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "qwen2-audio"])
def test_an_answer_draws_on_what_stands_beside_the_prompt(name):
    model, inputs = given(name)
    answer = [7, 9, 8]
    found = explain_answer(
        *(model, TOKENIZER, inputs, answer),
        spans="tokens",
        target="logit",
        sources="words",
        rules="conservative",
    )
    rows = explain_generation(model, TOKENIZER, inputs, continuation=answer)
    beside = next(key for key in CASES[name].scores if key != "input_ids")
    assert_close(found.ledger.total, found.output)
    assert_close(found.output.to(rows.output), rows.output)
    sums = rows.scores[:, : rows.encoder].sum(1)
    assert_close(found.ledger.sources[beside].to(sums), sums)
    assert_close(found.beside[beside].flatten(1).sum(1).to(sums), sums)
    assert "<span" in found.to_html()
