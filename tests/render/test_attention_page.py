"""Attention maps as pages and figures: every weight where it belongs."""

import base64
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_models import seq2seq, seq2seq_batch
from hand_built import calm, hostile_text
from lrp_hooks import ArgumentError, AttentionMaps
from lrp_hooks.attribution.attention_maps import AttentionMap
from shared_models import sentiment
from small_models import make

WHITE, FULL = torch.tensor([255.0] * 3), torch.tensor([213.0, 94.0, 0.0])


def maps(batch=1, heads=2, layers=2, queries=4, keys=None, seed=0, attended=None):
    """Return random maps."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, queries, keys or queries)
    return AttentionMaps(
        tuple(
            AttentionMap(
                f"layer.{n}.attention",
                torch.randn(shape, generator=generator).mul(2).softmax(-1),
            )
            for n in range(layers)
        ),
        attended,
    )


class Page(HTMLParser):
    """What a browser would see: images, texts token by token, rules."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.stack, self.visible = [], [], ""
        self.images, self.texts, self.rules = [], [], []
        self.key, self.kinds = [], []
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        kinds = given.get("class", "").split()
        if tag in {"p", "div"}:
            self.kinds = kinds
        self.elements.append((tag, sorted(given.keys() - {"title"})))
        if tag == "img":
            held = self.key if "key" in self.kinds else self.images
            held.append((given["alt"], picture(given["src"])))
        if tag not in {"meta", "img"}:
            self.stack.append(tag)
        if "text" in kinds:
            self.texts.append([])
        self.inside = "t" in kinds
        if self.inside:
            self.texts[-1].append(["", given])

    def handle_endtag(self, tag):
        self.inside = False
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            self.rules += re.findall(r"\.u\w+:is\((.*?)\)\{(\.k.*?\})\}", data)
        else:
            self.visible += data
        if self.inside:
            self.texts[-1][-1][0] += data


def picture(url):
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    image = matplotlib.image.imread(io.BytesIO(data), format="png")
    return torch.tensor(image[..., :3] * 255)


def coloured(weights):
    """Return what an image should have: the square root's share of the full colour."""
    return WHITE + (FULL - WHITE) * weights.sqrt()[..., None].float()


def test_every_head_has_an_image_of_its_weights():
    found = maps(batch=2, heads=3, layers=2, queries=4)
    page = Page(found.to_html())
    expected = [
        found[layer].weights[b, head]
        for b in range(2)
        for layer in range(2)
        for head in range(3)
    ]
    assert len(page.images) == len(expected) == 12
    for (label, image), weights in zip(page.images, expected, strict=True):
        assert label.endswith("4 queries by 4 keys")
        # 64 shades: none is farther off than half a step.
        assert (image - coloured(weights)).abs().max() <= 255 / 128 + 1
    assert "example 0" in page.visible and "layer.1.attention" in page.visible


def test_the_key_has_the_colours_of_the_images():
    page = Page(maps().to_html())
    assert "0  0.25  1" in page.visible
    (_, low), (_, high) = page.key
    ramp = torch.cat([low, high], 1)
    weights = torch.linspace(0, 1, ramp.shape[1])[None].square()
    assert (ramp - coloured(weights)).abs().max() <= 1
    middle = coloured(torch.tensor([[0.25]]))[0, 0]
    assert (ramp[0, low.shape[1] - 1] - middle).abs().max() <= 3


def test_a_query_colours_what_it_attends_to_on_its_own_scale():
    weights = torch.zeros(1, 2, 3, 3)
    weights[0, :, 0] = torch.tensor([0.6, 0.1, 0.3])
    weights[0, 0, 1, 1] = weights[0, 1, 1, 2] = 1.0  # the mean of heads: half and half
    weights[0, :, 2] = torch.tensor([0.0, 0.8, 0.2])
    found = AttentionMaps((AttentionMap("a", weights),))
    page = Page(found.to_html(["[CLS]", "one", "two"]))
    rows = {}
    for when, inner in page.rules:
        t = int(re.search(r":has\(\.g(\d):hover\)", when)[1])
        assert f":has(.g{t}:focus)" in when
        for columns, name in re.findall(
            r"((?:\.k\d,?)+)\{background:var\((.*?)\)", inner
        ):
            rows |= {(t, int(k)): name for k in re.findall(r"\d", columns)}
    assert rows == {
        (0, 0): "--p12", (0, 1): "--p4", (0, 2): "--p12",  # [CLS] sets no scale
        (1, 1): "--p12", (1, 2): "--p12",
        (2, 1): "--p12", (2, 2): "--p3",
    }  # fmt: skip
    (text,) = page.texts
    assert [token for token, _ in text] == ["[CLS]", "one", "two"]
    assert all(given["tabindex"] == "0" for _, given in text)
    assert text[0][1]["title"] == "[CLS]: [CLS] 0.600; two 0.300; one 0.100"
    assert "s" in text[0][1]["class"].split() and "s" not in text[1][1]["class"].split()


@pytest.mark.parametrize("padded", ["left", "right"])
@pytest.mark.parametrize("whole", [True, False])
def test_padding_is_left_out(padded, whole):
    attended = torch.ones(2, 5, dtype=torch.bool)
    kept = slice(2, 5) if padded == "left" else slice(0, 3)
    attended[1] = False
    attended[1, kept] = True
    found = maps(2, 1, 1, 5, attended=attended)
    second = (
        ["p", "p", "a", "b", "c"] if padded == "left" else ["a", "b", "c", "p", "p"]
    )
    page = Page(found.to_html([list("vwxyz"), second if whole else list("abc")]))
    words = [[token for token, _ in text] for text in page.texts]
    assert words == [list("vwxyz"), list("abc")]
    assert page.images[1][1].shape[:2] == (3, 3)
    right = coloured(found[0].weights[1, 0, kept, kept])
    assert (page.images[1][1] - right).abs().max() <= 255 / 128 + 1
    assert found.plot([list("vwxyz"), second]).axes[1].get_title("left") == "a b c"


def test_without_tokens_positions_have_numbers():
    page = Page(maps(layers=1)._repr_html_())
    assert [token for token, _ in page.texts[0]] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "tokens",
    ["abcd", ["a"], [["a"] * 4] * 2, [list("abcd"), "abcd"], [["a"] * 5], []],
)
def test_tokens_that_do_not_fit_are_refused(tokens):
    for show in (maps().to_html, maps().plot):
        with pytest.raises(ArgumentError, match="^tokens "):
            show(tokens)


def test_tokens_are_those_of_the_encoder_alone():
    inputs = seq2seq_batch()
    length = inputs["input_ids"].shape[1]
    inputs["decoder_input_ids"] = torch.arange(3, 3 + length).expand(2, -1)
    found = AttentionMaps.of(seq2seq("T5"), inputs)
    assert {tuple(one.weights.shape[-2:]) for one in found} == {(length, length)}
    page = Page(found.to_html([[f"w{t}" for t in range(length)]] * 2))
    assert len(page.texts) == 4  # two layers of two examples
    assert len(page.images) == sum(one.weights[:, :, 0, 0].numel() for one in found)


def test_maps_of_different_shapes_stand_in_one_figure():
    found = AttentionMaps.of(seq2seq("Bart"), seq2seq_batch())
    image = torch.tensor(found.plot().axes[0].images[0].get_array().filled(torch.nan))
    sizes = [one.weights[0].shape for one in found]
    filled = ~image.isnan()
    kept = int(seq2seq_batch()["attention_mask"][0].sum())
    expected = sum(
        h * (kept * kept if "encoder." in one.module else q * k)
        for one, (h, q, k) in zip(found, sizes, strict=True)
    )
    assert int(filled.sum()) == expected
    found.to_html()


def test_a_figure_has_layers_down_and_heads_across():
    found = maps(heads=3, layers=2, queries=4)
    figure = found.plot(["a", "$b$", "c", "d"])
    axes = figure.axes[0]
    image = torch.tensor(axes.images[0].get_array().filled(torch.nan))
    assert image.shape == (10, 15)  # a margin of one pixel
    for layer in range(2):
        for head in range(3):
            top, left = 5 * layer, 5 * head
            cell = image[top : top + 4, left : left + 4].float()
            torch.testing.assert_close(cell, found[layer].weights[0, head])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["0  layer.0.attention", "1  layer.1.attention"]
    figure.draw_without_rendering()
    with pytest.raises(ArgumentError, match="use to_html"):
        maps(batch=1001, queries=1).plot()


def test_a_long_text_has_smaller_images_alone_and_says_so():
    found = maps(heads=12, layers=4, queries=600)
    html = found.to_html()
    page = Page(html)
    assert not page.texts and len(html) < 6e6
    assert "600 tokens, more than the 193" in page.visible
    assert "each pixel is the largest weight of 3 x 3" in page.visible
    small = page.images[0][1]
    blocks = found[0].weights[0, 0].unflatten(0, (200, 3)).unflatten(2, (200, 3))
    right = coloured(blocks.amax((1, 3)))
    assert (small - right).abs().max() <= 255 / 128 + 1
    short = Page(maps(layers=4, queries=150).to_html())
    assert len(short.texts) == 4


@calm
@given(st.lists(hostile_text, min_size=1, max_size=5))
def test_whatever_the_text_it_does_nothing(words):
    found = maps(layers=1, queries=len(words))
    html = found.to_html(words)
    page, plain = Page(html), Page(found.to_html(["a"] * len(words)))
    assert page.elements == plain.elements
    assert len(page.texts[0]) == len(words)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", html)
    assert "<script" not in html


def test_a_models_own_maps():
    model, inputs = make("bert sdpa")
    found = AttentionMaps.of(model, inputs)
    page = Page(found.to_html([list("abcde"), list("abc")]))
    assert [len(text) for text in page.texts] == [5, 5, 3, 3]


def test_what_a_tokenizer_returned_names_its_tokens():
    model, tokenizer = sentiment()
    batch = tokenizer(["a good film", "bad"], padding=True, return_tensors="pt")
    found = AttentionMaps.of(model, batch)
    assert found.tokens[1] == ["[CLS]", "bad", "[SEP]", "[PAD]", "[PAD]"]
    for html in (found.to_html(), found._repr_html_()):
        words = [[token for token, _ in text] for text in Page(html).texts]
        assert words[0] == ["[CLS]", "a", "good", "film", "[SEP]"]
        assert words[-1] == ["[CLS]", "bad", "[SEP]"]
    plain = AttentionMaps.of(model, dict(batch))
    assert plain.tokens is None
    assert [token for token, _ in Page(plain.to_html()).texts[0]] == list("01234")


TWO_HEADS = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]]]])


def test_tokens_attend_with_the_mean_over_heads():
    html = AttentionMaps((AttentionMap("a", TWO_HEADS),)).to_html(["one", "two"])
    ((first, _),) = Page(html).texts
    assert first[1]["title"] == "one: one 0.750; two 0.250"
    captions = re.findall(r"<figcaption>([^<]*)<", html)
    assert captions == ["head 0", "head 1"]


def test_the_first_layer_is_unfolded():
    both = AttentionMaps((AttentionMap("a", TWO_HEADS), AttentionMap("b", TWO_HEADS)))
    html = both.to_html(["one", "two"])
    assert re.findall(r"<details( open)?>", html) == [" open", ""]


def test_a_figure_names_its_heads_and_colours_by_the_square_root():
    axes = AttentionMaps((AttentionMap("a", TWO_HEADS),)).plot().axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["head 0", "head 1"]
    places = axes.get_xticks()
    assert list(places) == sorted(places)
    assert axes.images[0].norm(0.25) == pytest.approx(0.5)
