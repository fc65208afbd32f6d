"""Similarities: of two texts by one encoder, and of images with texts by two towers."""

import numpy as np
import pytest
import torch
import transformers as t

from lrp_hooks import (
    ArgumentError,
    TargetError,
    TextError,
    compare,
    explain,
    instrument,
)
from lrp_hooks.explainers import names
from lrp_hooks.results.explanation_view import view
from lrp_hooks.sentiment import sentiment_model
from towers import TOKENIZER, BagOfWords, TinySentenceEncoder, two_towers

PAIR = ("a good film", "it is a bad end")
PAIRS = [PAIR, ("it is", "a delight")]
PIXELS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TEXTS = ["a good film", "it is a bad end"]
NO_VECTORS = {"attention_norms", "globenc", "alti", "value_zeroing"}
READ_BOTH = {
    "lrp",
    "gradient_x_input",
    "saliency",
    "integrated_gradients",
    "smooth_grad",
}


def by_side(found, row=0):
    """Scores of each text of a pair."""
    segments = torch.tensor(found.meta["segments"][row])
    scores = found.scores[row, : len(segments)]
    return scores[segments == 0], scores[segments == 1]


def clip(**settings):
    return two_towers(t.CLIPModel, t.CLIPConfig, projection_dim=8, **settings)


def siglip():
    text = {"projection_size": 16}
    return two_towers(t.SiglipModel, t.SiglipConfig, text=text)


def chinese_clip():
    return two_towers(t.ChineseCLIPModel, t.ChineseCLIPConfig, projection_dim=8)


def dual():
    vision = t.CLIPVisionConfig(**clip().config.vision_config.to_dict())
    text = t.BertConfig(**{**clip().config.text_config.to_dict(), "pad_token_id": 0})
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs
    return (
        t
        .VisionTextDualEncoderModel(config(vision, text, projection_dim=8))
        .double()
        .eval()
    )


def batch(texts=TEXTS):
    found = dict(TOKENIZER(texts, padding=True, return_tensors="pt"))
    found.pop("token_type_ids", None)
    return {"pixel_values": PIXELS[: len(texts)].double(), **found}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_both_sides_and_the_sources_sum_to_the_similarity(similarity):
    model = TinySentenceEncoder(similarity)
    found = explain(model, PAIRS)
    for row, pair in enumerate(PAIRS):
        a, b = map(model.encode, pair)
        norms = a.norm() * b.norm() if similarity == "cosine" else 1.0
        assert found.output[row].item() == pytest.approx(float(a @ b / norms))
    assert found.ledger.error.max() < 1e-12
    assert torch.allclose(found.scores.sum(1), found.ledger.inputs)
    assert found.meta["task"] == "similarity"
    name = {"cosine": "cosine similarity", "dot": "dot product"}[similarity]
    assert found.targets == [name, name]


def test_a_bag_of_words_has_the_closed_form():
    model = BagOfWords().eval()
    found = explain(model, PAIR)
    tables = [
        model.table.weight[torch.tensor(TOKENIZER(text)["input_ids"])] for text in PAIR
    ]
    matrix, bias = model.linear.weight, model.linear.bias
    parts = [table @ matrix.T / len(table) for table in tables]
    vectors = [part.sum(0) + bias for part in parts]
    norm = vectors[0].norm() * vectors[1].norm()
    for side, own in enumerate(by_side(found)):
        wanted = parts[side] @ vectors[1 - side] / norm / 2
        assert torch.allclose(own, wanted)
    biases = sum(vector @ bias for vector in vectors) / norm / 2
    assert found.ledger.groups["biases"].item() == pytest.approx(biases.item())


def test_a_side_is_half_of_what_it_is_with_the_other_vector_fixed():
    model = TinySentenceEncoder("dot")
    sides = by_side(explain(model, PAIR))
    for text, other, own in zip(PAIR, PAIR[::-1], sides, strict=True):
        vector = model.encode(other)
        features = dict(TOKENIZER([text], return_tensors="pt"))
        with instrument(model) as lrp:
            alone = lrp.attribute(
                features, target=lambda o, v=vector: o["sentence_embedding"] @ v
            )
        assert torch.allclose(alone.scores[0] / 2, own)


def test_the_engine_splits_a_product_of_both_sides_alike():
    model = TinySentenceEncoder()

    class Siamese(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model.body

        def forward(self, first, second):
            means = [self.body(inputs_embeds=e)[0].mean(1) for e in (first, second)]
            unit = [torch.nn.functional.normalize(mean, dim=-1) for mean in means]
            return (unit[0] * unit[1]).sum(-1)

    table = model.body.embeddings.word_embeddings
    given = [
        table(torch.tensor([TOKENIZER(text)["input_ids"]])).detach() for text in PAIR
    ]
    with instrument(Siamese()) as lrp:
        read = [each.clone().requires_grad_() for each in given]
        grads = torch.autograd.grad(lrp.model(*read).sum(), read)
    found = explain(model, PAIR)
    for own, at, grad in zip(by_side(found), given, grads, strict=True):
        assert torch.allclose(own, (at * grad).sum(-1)[0])


def test_swapped_sides_swap_their_scores():
    model = TinySentenceEncoder()
    first, second = by_side(explain(model, PAIR))
    swapped = by_side(explain(model, PAIR[::-1]))
    assert torch.allclose(first, swapped[1]) and torch.allclose(second, swapped[0])


def test_pairs_are_explained_one_by_one_or_together():
    model = TinySentenceEncoder()
    together = explain(model, PAIRS)
    for row, pair in enumerate(PAIRS):
        alone = explain(model, pair)
        length = alone.scores.shape[1]
        assert torch.equal(together.scores[row, :length], alone.scores[0])
        assert together.tokens[row] == alone.tokens[0]
        assert not together.scores[row, length:].any()
    columns = {"text": [p[0] for p in PAIRS], "text_pair": [p[1] for p in PAIRS]}
    assert torch.equal(explain(model, columns).scores, together.scores)


def test_each_side_stands_in_a_line_of_its_own(tmp_path):
    found = explain(TinySentenceEncoder(), PAIR)
    length = len(TOKENIZER(PAIR[0])["input_ids"])
    assert found.meta["segments"] == [
        [0] * length + [1] * (len(found.tokens[0]) - length)
    ]
    words = found.words()
    assert words.tokens[0].count("[CLS]") == words.tokens[0].count("[SEP]") == 2
    assert torch.allclose(words.scores.sum(), found.scores.sum())
    assert [float(part.sum()) for part in by_side(words)] == pytest.approx([
        float(part.sum()) for part in by_side(found)
    ])
    (strip,) = view(found).examples[0].parts
    assert [place for place, n in enumerate(strip.breaks) if n] == [length]
    assert "film" in found.to_html()
    assert len(found.to_dataframe()) == len(found.tokens[0])
    assert "cosine similarity" in found.to_terminal(colour=False)
    assert found.plot() is not None
    found.save(tmp_path / "a.json")
    loaded = type(found).load(tmp_path / "a.json")
    assert loaded.targets == found.targets and torch.equal(loaded.scores, found.scores)
    values = found.to_shap()
    total = values.values.sum() + values.base_values[0]
    assert total == pytest.approx(found.output.item())


@pytest.mark.parametrize("method", sorted(set(names()) - {"slalom"} - NO_VECTORS))
def test_every_method_scores_both_sides(method):
    found = explain(TinySentenceEncoder(), PAIR, method)
    assert found.scores.shape == (1, len(found.tokens[0]))
    assert all(bool(side.any()) for side in by_side(found))


def test_leaving_a_token_out_costs_half_of_what_the_similarity_loses():
    model = TinySentenceEncoder()
    found = explain(model, PAIR, "leave_one_out", replace_with=TOKENIZER.mask_token_id)
    changed = explain(model, ("a [MASK] film", PAIR[1]))
    lost = (found.output - changed.output).item()
    assert by_side(found)[0][2].item() == pytest.approx(lost / 2)


def test_methods_are_compared_on_both_sides():
    found = compare(TinySentenceEncoder(), PAIR, methods=["lrp", "leave_one_out"])
    assert not found.failures
    assert (
        found.explanations["lrp"].tokens == found.explanations["leave_one_out"].tokens
    )


def test_one_text_is_asked_for_another_or_a_target():
    model = TinySentenceEncoder()
    for method in ("lrp", "leave_one_out"):
        with pytest.raises(TargetError, match=r"pair \(text, other text\).*target="):
            explain(model, PAIR[0], method)
    vector = model.encode(PAIR[1])
    for method in ("lrp", "leave_one_out"):
        found = explain(
            model, PAIR[0], method, target=lambda o: o["sentence_embedding"] @ vector
        )
        output = float(model.encode(PAIR[0]) @ vector)
        assert found.output.item() == pytest.approx(output)
        assert found.scores.any()


@pytest.mark.parametrize(
    ("inputs", "options", "error", "match"),
    [
        (["a", "b"], {}, TargetError, "a pair"),
        (("a", "b", "c"), {}, TextError, "no pair"),
        ([PAIR, "it is"], {}, TextError, "text 2 of 2 is no pair"),
        ({"text": ["a", "b"], "text_pair": ["a"]}, {}, TextError, "2 'text' and 1"),
        (("a", " "), {}, TextError, "its second text.*blank"),
        (("a", ["b", "c"]), {}, ArgumentError, r"list of pairs"),
        (("a", "film " * 20), {}, TextError, "second text.*22 tokens"),
        (PAIR, {"target": 1}, TargetError, "must be left out for a pair"),
        (PAIR, {"stride": 4}, ArgumentError, "one vector of a text"),
    ],
)
def test_what_has_no_similarity_is_refused(inputs, options, error, match):
    with pytest.raises(error, match=match):
        explain(TinySentenceEncoder(), inputs, **options)


def test_a_distance_is_no_product():
    with pytest.raises(ArgumentError, match=r"'euclidean'.*'cosine' or 'dot'"):
        explain(TinySentenceEncoder("euclidean"), PAIR)


def test_a_prompt_that_no_text_has_is_refused():
    model = TinySentenceEncoder()
    model.prompts, model.default_prompt_name = {"query": "find: "}, "query"
    with pytest.raises(ArgumentError, match=r"'find: '.*default_prompt_name = None"):
        explain(model, PAIR)


def test_an_encoder_reads_as_much_as_it_says():
    model = TinySentenceEncoder()
    model.max_seq_length = 6
    with pytest.raises(TextError, match="7 tokens, but the model has 6 positions"):
        explain(model, PAIR)


def test_a_cut_vector_is_compared():
    model = TinySentenceEncoder()
    model.truncate_dim = 4
    a, b = (model.encode(text)[:4] for text in PAIR)
    found = explain(model, PAIR)
    assert found.output.item() == pytest.approx(float(a @ b / a.norm() / b.norm()))


def test_the_model_is_left_as_it_was():
    model = TinySentenceEncoder().train()
    before = set(dict(model.named_modules()))
    explain(model, PAIR)
    assert model.training and set(dict(model.named_modules())) == before
    assert not model._forward_hooks and not model.body._forward_hooks


def test_a_real_sentence_transformer():
    real = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

    class Body(torch.nn.Module):
        """The first module of a SentenceTransformer, without files."""

        tokenizer, max_seq_length = TOKENIZER, 16
        config_keys: tuple = ()

        def __init__(self):
            super().__init__()
            self.body = TinySentenceEncoder().body

        def tokenize(self, texts, **options):
            return dict(TOKENIZER(texts, padding=True, return_tensors="pt"))

        preprocess = tokenize

        def forward(self, features, **options):
            hidden = self.body(features["input_ids"], features["attention_mask"])
            return {**features, "token_embeddings": hidden.last_hidden_state}

    modules = [Body(), models.Pooling(16, pooling_mode="mean"), models.Normalize()]
    model = real.SentenceTransformer(modules=modules, device="cpu").double().eval()
    found = explain(model, PAIR)
    assert found.ledger.error.max() < 1e-12
    wanted = explain(TinySentenceEncoder(), PAIR)
    assert torch.allclose(found.scores, wanted.scores)


@pytest.mark.parametrize("tower", [clip, siglip, chinese_clip, dual])
def test_both_towers_have_scores_that_sum_to_the_similarity(tower):
    model = tower()
    found = explain(model, batch())
    assert found.meta["task"] == "similarity" and found.targets == ["similarity"] * 2
    shapes = {name: list(part.shape) for name, part in found.scores.items()}
    assert shapes == {"pixel_values": [2, 8, 8], "input_ids": [2, 7]}
    with torch.no_grad():
        assert torch.equal(found.output, model(**batch()).logits_per_image.diagonal())
    assert found.ledger.error.max() < 1e-12
    sums = sum(part.flatten(1).sum(1) for part in found.scores.values())
    assert torch.allclose(sums, found.ledger.inputs)
    assert all(bool(part.any()) for part in found.scores.values())


@pytest.mark.parametrize("method", sorted(READ_BOTH - {"smooth_grad"}))
def test_rows_of_two_towers_do_not_mix(method):
    model, given = clip(), batch(["a good film", "it is bad"])
    together = explain(model, given, method)
    for row in range(2):
        own = {name: value[row : row + 1] for name, value in given.items()}
        alone = explain(model, own, method)
        for name, part in alone.scores.items():
            assert torch.allclose(part[0], together.scores[name][row], atol=1e-10)


def test_a_tower_has_half_of_what_it_has_with_the_other_vector_fixed():
    model, given = clip(), batch()
    found = explain(model, given)

    class Tower(torch.nn.Module):
        def __init__(self, names, vectors):
            super().__init__()
            self.clip, self.names = model, names
            self.register_buffer("vectors", vectors)

        def forward(self, **inputs):
            encode = getattr(self.clip, self.names)(**inputs)
            own = getattr(encode, "pooler_output", encode)
            own = torch.nn.functional.normalize(own, dim=-1)
            return (own * self.vectors).sum(-1)

    with torch.no_grad():
        output = model(**given)
    scale = model.logit_scale.exp().detach()
    text = {name: given[name] for name in ("input_ids", "attention_mask")}
    sides = {
        "pixel_values": ("get_image_features", output.text_embeds, {}),
        "input_ids": ("get_text_features", output.image_embeds, text),
    }
    for name, (features, vectors, inputs) in sides.items():
        tower = Tower(features, vectors * scale)
        with instrument(tower) as lrp:
            alone = lrp.attribute(
                inputs or {name: given[name]}, target=lambda output: output
            )
        assert torch.allclose(alone.output, found.output)
        assert torch.allclose(alone.scores / 2, found.scores[name])


def test_an_image_comes_with_its_text():
    model = clip()
    found = explain(model, (PIXELS, TEXTS), tokenizer=TOKENIZER)
    wanted = explain(model, batch())
    for name, part in wanted.scores.items():
        assert torch.allclose(found.scores[name], part)
    assert found.tokens[0] == TOKENIZER(TEXTS[0]).tokens()
    assert torch.equal(found.images, PIXELS.double())
    listed = explain(model, list(zip(PIXELS, TEXTS, strict=True)), tokenizer=TOKENIZER)
    one = explain(model, (PIXELS[0], TEXTS[0]), tokenizer=TOKENIZER)
    for name, part in found.scores.items():
        assert torch.equal(listed.scores[name], part)
        length = one.scores[name].shape[1]
        assert torch.allclose(one.scores[name][0], part[0, :length])


def test_both_towers_are_shown(tmp_path):
    found = explain(clip(), (PIXELS, TEXTS), tokenizer=TOKENIZER)
    assert "film" in found.to_html() and "film" in found.to_terminal(colour=False)
    assert set(found.to_dataframe()["input"]) == {"pixel_values", "input_ids"}
    assert found.plot() is not None
    found.save(tmp_path / "a.json")
    loaded = type(found).load(tmp_path / "a.json")
    assert loaded.targets == found.targets
    for refused in (found.words, found.to_shap):
        with pytest.raises(ArgumentError, match=r"\[B, T\]"):
            refused()


def test_a_tower_that_reads_padding_gets_it():
    model = siglip()
    found = explain(model, (PIXELS, TEXTS), tokenizer=TOKENIZER)
    full = TOKENIZER(TEXTS, padding="max_length", max_length=16, return_tensors="pt")
    wanted = model(input_ids=full["input_ids"], pixel_values=PIXELS.double())
    assert torch.allclose(found.output, wanted.logits_per_image.diagonal())
    assert found.tokens[0].count("[PAD]") == 11
    assert found.ledger.error.max() < 1e-12


def test_an_audio_tower_is_a_tower():
    model = clip()

    class Listener(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.clip, self.config = model, model.config

        def forward(self, input_features, input_ids):
            return self.clip(input_ids, input_features)

    given = batch()
    found = explain(
        Listener(),
        {"input_features": given["pixel_values"], "input_ids": given["input_ids"]},
    )
    assert set(found.scores) == {"input_features", "input_ids"}


@pytest.mark.parametrize("method", sorted(set(names()) - READ_BOTH))
def test_a_method_of_one_input_is_refused(method):
    with pytest.raises(ArgumentError, match="'pixel_values', 'input_ids'.*'lrp'"):
        explain(clip(), batch(), method)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "match"),
    [
        ((PIXELS, "a"), {}, TextError, "2 images and 1 texts"),
        (("a", PIXELS), {}, TextError, "the image comes first"),
        ((np.zeros((8, 8, 3)), "a"), {}, TextError, r"a ndarray.*processor\(images="),
        ((PIXELS[0, 0], "a"), {}, TextError, r"shape \(8, 8\)"),
        ([(PIXELS[0], "a"), (PIXELS[0, :, :4], "b")], {}, TextError, "one shape"),
        ((PIXELS, TEXTS), {"target": 1}, TargetError, "must be left out"),
        ((PIXELS, TEXTS), {"tokenizer": None}, ArgumentError, "tokenizer is None"),
        ((PIXELS, TEXTS), {"stride": 4}, ArgumentError, "stride=4"),
        ("a film", {}, ArgumentError, "cannot be run"),
        ({**batch(), "pixel_values": PIXELS[:1].double()}, {}, ArgumentError, "1 rows"),
        ((batch()["input_ids"], PIXELS.double()), {}, ArgumentError, "a mapping"),
    ],
)
def test_what_two_towers_cannot_compare_is_refused(inputs, options, error, match):
    with pytest.raises(error, match=match):
        explain(clip(), inputs, **{"tokenizer": TOKENIZER, **options})


def test_a_function_explains_something_else():
    found = explain(clip(), batch(), target=lambda o: o.logits_per_image.diagonal() / 2)
    assert found.meta["task"] == "a target of the caller's"
    assert found.ledger.error.max() < 1e-12


@pytest.mark.parametrize("wrt", ["pixel_values", "input_ids"])
def test_an_input_is_read_by_its_name(wrt):
    model, given = clip(), batch()
    found = explain(model, given, wrt=wrt)
    assert found.meta["read"] == [wrt]
    assert found.ledger.error.max() < 1e-12


def test_an_input_that_has_no_relevance_is_not_read():
    with pytest.raises(ArgumentError, match="'attention_mask' names an input"):
        explain(clip(), batch(), wrt=["pixel_values", "attention_mask"])


def test_a_text_without_an_image_asks_for_both():
    with pytest.raises(ArgumentError, match=r"such as \(pixel values, text\)"):
        explain(clip(), "a good film", tokenizer=TOKENIZER)


def test_a_model_of_texts_reads_no_image():
    model, tokenizer = sentiment_model()
    with pytest.raises(TextError, match="takes no pixel_values"):
        explain(model, (torch.rand(3, 8, 8), "a fine film"), tokenizer=tokenizer)
