"""All metrics against one model call for each perturbed input, on every kind of input.

What the metrics leave as it was, and what the model is shown, is watched in
``test_metric_laws.py``.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from faithfulness_oracle import METRICS, Example, curves, cut, painted, replaced
from lrp_hooks import ArgumentError, faithfulness
from small_models import convolution, hugging_face, logits
from strategies import VOCABULARY, build, noise, seeds, specs, tokens

FILLER = 3
LENGTHS = (6, 3, 1, 5)
either = st.booleans()


def padded(lengths, left=False, seed=0):
    """Ids and mask of texts; padding holds ids that would be seen if it were shown."""
    length = max(lengths)
    mask = torch.zeros(len(lengths), length).long()
    for row, n in enumerate(lengths):
        mask[row, length - n if left else 0 :][: n if not left else None] = 1
    return {"input_ids": tokens(len(lengths), length, seed), "attention_mask": mask}


def row_of(batch, row):
    return {name: value[row : row + 1] for name, value in batch.items()}


def reader(model, last=False):
    """Return a function from one row's call to its list of logits."""

    def read(row):
        with torch.no_grad():
            found = logits(model(**row) if isinstance(row, dict) else model(row))
        if last:
            mask = row.get("attention_mask", torch.ones(found.shape[:2]))
            found = found[:, int(mask[0].nonzero().max())]
        return found.reshape(-1).tolist()

    return read


def examples(model, batch, scores, target, filler=FILLER, special=None, **options):
    """Every row of a batch with its free places, for ids or embeddings."""
    read = reader(model, options.pop("last", False))
    main = options.pop("main", "input_ids")
    made = []
    for row in range(len(scores)):
        one = row_of(batch, row)
        mask = one.get("attention_mask", torch.ones(1, scores.shape[1]))[0]
        attended = mask.nonzero()[:, 0].tolist()
        free = [i for i in attended if special is None or not special[row, i]]
        if filler == "delete":
            show = cut(read, one, main, attended)
        else:
            show = replaced(read, one, main, filler)
        made.append(Example(show, scores[row].tolist(), free, target[row], **options))
    return made


def check(found, oracle, names=METRICS):
    right = curves(oracle)
    for name in names:
        assert_close(found[name].values, right[name], rtol=1e-9, atol=1e-9)


def ties(*shape, seed=0):
    """Scores with ties, of both signs."""
    return (noise(*shape, seed=seed) * 2).round()


@settings(max_examples=15)
@given(
    specs(), seeds, either, either, st.lists(st.integers(2, 7), min_size=1, max_size=3)
)
def test_any_network(spec, seed, left, as_tuple, lengths):
    model, batch = build(spec, seed), padded(lengths, left, seed)
    scores = ties(*batch["input_ids"].shape, seed=seed)
    target = [seed % 3] * len(scores)
    given_batch = tuple(batch.values()) if as_tuple else batch
    found = faithfulness.measure(model, given_batch, scores, target, FILLER)
    check(found, examples(model, batch, scores, target))


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("how", ["mask", "ids", "both"])
@pytest.mark.parametrize("labels", [1, 2, 3, "several"])
def test_bert_with_types_and_special_tokens(left, how, labels):
    settings = {"num_labels": 3 if labels == "several" else labels}
    if labels == "several":
        settings["problem_type"] = "multi_label_classification"
    model = hugging_face("bert", torch.float64, **settings)
    batch = padded(LENGTHS[:2] + LENGTHS[3:], left)
    batch["token_type_ids"] = tokens(3, 6, seed=1) % 2
    scores, target = ties(3, 6), [0, (settings["num_labels"] - 1), 0]
    special, shown, ids = torch.zeros(3, 6).bool(), dict(batch), ()
    if how != "ids":
        shown["special_tokens_mask"] = (tokens(3, 6, seed=2) % 4 == 0).long()
        special |= shown["special_tokens_mask"] == 1
    if how != "mask":
        ids = (int(batch["input_ids"][0, 1]), 7)
        special |= torch.isin(batch["input_ids"], torch.tensor(ids))
    found = faithfulness.measure(
        model, shown, scores, target, FILLER, special_ids=iter(ids)
    )
    sigmoid = labels in {1, "several"}
    check(
        found, examples(model, batch, scores, target, FILLER, special, sigmoid=sigmoid)
    )
    found = faithfulness.measure(
        model, shown, scores, target, FILLER, special_tokens="perturb", special_ids=ids
    )
    check(found, examples(model, batch, scores, target, sigmoid=sigmoid))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("masked", [False, True])
def test_language_models_are_read_at_their_last_token(family, masked):
    model, batch = hugging_face(family, torch.float64), padded(LENGTHS)
    if not masked:
        del batch["attention_mask"]
    scores, target = ties(4, 6), tokens(1, 4)[0].tolist()
    found = faithfulness.measure(model, batch, scores, target, FILLER)
    check(found, examples(model, batch, scores, target, last=True))


@settings(max_examples=10)
@given(specs(), seeds, either)
def test_tokens_can_be_cut_out(spec, seed, left):
    model, batch = build(spec, seed), padded((6, 3, 5), left, seed)
    marked = torch.zeros(3, 6).bool()
    for row in range(3):  # the first token stays, so that something is left
        marked[row, int(batch["attention_mask"][row].nonzero()[0])] = True
    scores, target = ties(3, 6, seed=seed), [0, 1, 2]
    shown = {**batch, "special_tokens_mask": marked}
    found = faithfulness.measure(model, shown, scores, target, "delete")
    check(found, examples(model, batch, scores, target, "delete", marked))


@pytest.mark.parametrize("filler", [0.0, 0.25, noise(8), noise(5, 8)])
def test_embeddings(filler):
    model = build()
    batch = padded((5, 3))
    batch["inputs_embeds"] = noise(2, 5, 8, seed=1)
    del batch["input_ids"]
    scores, target = ties(2, 5), [2, 0]
    found = faithfulness.measure(model, batch, scores, target, filler)
    if isinstance(filler, torch.Tensor) and filler.ndim == 2:
        return check_by_place(found, model, batch, scores, filler)
    check(found, examples(model, batch, scores, target, filler, main="inputs_embeds"))
    return None


def check_by_place(found, model, batch, scores, filler):
    """Of a filler with a row for each position, the empty input is known."""
    value = torch.where(
        batch["attention_mask"].bool()[..., None], filler, batch["inputs_embeds"]
    )
    empty = model(None, batch["attention_mask"], value).softmax(-1)
    assert_close(found["insertion"].values[:, 0], empty[[0, 1], [2, 0]].detach())


@pytest.mark.parametrize("cells", [(4, 4), (2, 2), (4, 2), (1, 4)])
@pytest.mark.parametrize("filler", [0.0, -1.5])
def test_images_by_pixels_and_by_patches(cells, filler):
    model, images = convolution(torch.float64).eval(), noise(3, 2, 4, 4)
    scores, target, places = ties(3, *cells), [0, 1, 2], cells[0] * cells[1]
    found = faithfulness.measure(model, images, scores, target, filler)
    oracle = [
        Example(
            painted(reader(model), images[row : row + 1], cells, filler),
            scores[row].flatten().tolist(),
            range(places),
            target[row],
        )
        for row in range(3)
    ]
    check(found, oracle)


def test_a_grid_of_wide_images_is_laid_out_by_rows():
    seen = []

    class Pixels(nn.Module):
        def forward(self, images):
            seen.extend(images[:, 0].tolist())
            return images.flatten(1)[:, :2]

    occlusion = faithfulness.Occlusion(Pixels(), torch.ones(1, 1, 2, 6), 0, grid=(1, 3))
    kept = torch.tensor([[[True, False, True]]])
    assert occlusion.logits(kept).shape == (1, 1, 2)
    assert seen == [[[1, 1, 0, 0, 1, 1]] * 2]


@pytest.mark.parametrize("filler", [0.5, noise(7, seed=4)])
def test_vectors(filler):
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    vectors, scores, target = noise(3, 7), ties(3, 7), [0, 1, 1]
    found = faithfulness.measure(model, vectors, scores, target, filler)
    filled = torch.as_tensor(filler, dtype=torch.float64).expand(7)

    def show(row):
        def inner(kept):
            value = [vectors[row, i] if i in kept else filled[i] for i in range(7)]
            return reader(model)(torch.stack(value)[None])

        return inner

    check(
        found,
        [Example(show(i), scores[i].tolist(), range(7), target[i]) for i in range(3)],
    )


@settings(max_examples=10)
@given(specs(), seeds, either)
def test_published_counts_padding_and_hides_the_mask(spec, seed, left):
    """Of Ali et al.'s metrics: padding stays in an empty input, and is taken away."""
    model, batch = build(spec, seed), padded((8, 5), left, seed)
    scores, special = ties(2, 8, seed=seed), tokens(2, 8, seed + 1) % 3 == 0
    found = faithfulness.measure(
        model,
        {**batch, "special_tokens_mask": special},
        scores,
        1,
        FILLER,
        ("activation", "pruning"),
        published=True,
    )
    made = []
    for row in range(2):
        show = replaced(
            reader(model),
            {"input_ids": batch["input_ids"][row : row + 1]},
            "input_ids",
            FILLER,
        )
        blank = (batch["attention_mask"][row] == 0).nonzero()[:, 0].tolist()
        # Of 8 places the noise of their ceiling changes no number.
        one = Example(show, scores[row].tolist(), range(8), 1, stay=blank)
        made.append(one)
    for name in ("activation", "pruning"):
        right = curves(made, (name,))[name]
        assert_close(found[name].values, right, rtol=1e-9, atol=1e-9)


def test_published_hides_the_mask_from_no_other_metric():
    model, batch, scores = build(), padded((9, 5)), ties(2, 9)
    others = [name for name in METRICS if name not in {"activation", "pruning"}]
    arguments = (model, batch, scores, 1, FILLER, others)
    options = {"special_ids": [int(batch["input_ids"][0, 0])]}
    # Of 8 and of 4 or 5 free places the noise of a floor changes no number.
    found = faithfulness.measure(*arguments, **options, published=True)
    right = faithfulness.measure(*arguments, **options)
    for name in others:
        assert_close(found[name].values, right[name].values)


def test_published_refuses_a_mask_that_it_cannot_hide():
    batch = tuple(padded((4, 2)).values())
    with pytest.raises(ArgumentError, match="published.*mapping"):
        faithfulness.activation(build(), batch, ties(2, 4), 0, 0, published=True)


@pytest.mark.parametrize("extra", ["labels", "position_ids", "both"])
def test_arguments_of_other_shapes_are_handed_on(extra):
    """Padding is cut off only where nothing else in the call counts positions."""
    model = hugging_face("bert", torch.float64, num_labels=3)
    batch = padded((4, 2, 3))
    batch = {name: nn.functional.pad(value, (0, 2)) for name, value in batch.items()}
    scores = ties(3, 6)
    right = faithfulness.measure(model, batch, scores, 1, FILLER)
    if extra != "position_ids":
        batch["labels"] = torch.tensor([0, 1, 2])
    if extra != "labels":
        batch["position_ids"] = torch.arange(6)[None]
    found = faithfulness.measure(model, batch, scores, 1, FILLER)
    for name in METRICS:
        assert_close(found[name].values, right[name].values, rtol=1e-9, atol=1e-9)


def test_what_a_decoder_reads_is_not_cut_where_the_text_is_padded():
    class Translator(nn.Module):
        def forward(self, input_ids, attention_mask, decoder_input_ids):
            read = (input_ids * attention_mask).sum(1) + decoder_input_ids.sum(1)
            return torch.stack([read, -read], 1).double() / VOCABULARY

    batch = padded((3, 2))
    batch = {name: nn.functional.pad(value, (0, 2)) for name, value in batch.items()}
    batch["decoder_input_ids"] = torch.ones(2, 5).long()
    scores = ties(2, 5)
    found = faithfulness.measure(Translator(), batch, scores, 0, FILLER)
    check(found, examples(Translator(), batch, scores, [0, 0]))
