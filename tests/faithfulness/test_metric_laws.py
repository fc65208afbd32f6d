"""What metrics may depend on, what they show a model, and what they leave alone."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lrp_hooks import ArgumentError, NonFiniteError, TextError, faithfulness
from lrp_hooks.faithfulness import METRICS, Occlusion, measure
from lrp_hooks.faithfulness.metrics import curves
from small_models import convolution
from strategies import Spec, build, noise, seeds, tokens

FILLER = 3
SPECIAL = (0, 7)
# Nothing in it tells where a token stands.
UNPLACED = Spec(("explicit", "mlp"), ("layer", "rms"), pool="mean", bias=False)


@st.composite
def batches(draw):
    """Ids, a mask on either side of the texts, and scores with ties."""
    lengths = draw(st.lists(st.integers(3, 7), min_size=2, max_size=4))
    longest, seed, left = max(lengths), draw(seeds), draw(st.booleans())
    mask = torch.zeros(len(lengths), longest).long()
    for row, n in enumerate(lengths):
        mask[row, longest - n :] = 1
    mask = mask if left else mask.flip(1)
    batch = {"input_ids": tokens(len(lengths), longest, seed), "attention_mask": mask}
    return batch, (2 * noise(len(lengths), longest, seed=seed)).round()


def same(found, right, rows=slice(None)):
    for name in METRICS:
        values = right[name].values[rows]
        assert_close(found[name].values, values, rtol=1e-9, atol=1e-9)


@settings(max_examples=10)
@given(batches(), st.booleans())
def test_nothing_depends_on_the_batch(drawn, short):
    """One by one, without padding or with, is as all at once."""
    batch, scores = drawn
    model, options = build(UNPLACED), {"special_ids": SPECIAL[1:]}
    target = [i % 3 for i in range(len(scores))]
    every = measure(model, batch, scores, target, FILLER, **options)
    for row in range(len(scores)):
        at = batch["attention_mask"][row].bool() if short else slice(None)
        one = {name: value[row, at][None] for name, value in batch.items()}
        found = measure(
            model, one, scores[row, at][None], target[row], FILLER, **options
        )
        same(found, every, [row])
    order = torch.arange(len(scores)).flip(0)
    turned = {name: value[order] for name, value in batch.items()}
    found = measure(model, turned, scores[order], target[::-1], FILLER, **options)
    same(found, every, order)


@settings(max_examples=10)
@given(batches(), st.data())
def test_only_the_order_of_scores_counts(drawn, data):
    batch, scores = drawn
    model = build(UNPLACED)
    flips = data.draw(st.lists(st.booleans(), min_size=7, max_size=7))
    signs = torch.tensor([1 if flip else -1 for flip in flips])[: scores.shape[1]]
    right = measure(model, batch, scores, 1, FILLER)
    moved = measure(model, batch, (scores / 3).exp() - 5, 1, FILLER)
    grown = measure(model, batch, signs * scores**3, 1, FILLER, ("pruning",))
    for name in METRICS:
        found = grown if name == "pruning" else moved
        assert_close(found[name].values, right[name].values, rtol=0, atol=1e-12)


@contextmanager
def watched(model):
    """Collect the rows of ids and masks that a model is called with."""
    seen = []

    def note(_, args, kwargs):
        value = kwargs["input_ids"] if kwargs else args[0]
        mask = kwargs.get("attention_mask", torch.ones(value.shape[:2]))
        seen.extend(zip(value.tolist(), mask.tolist(), strict=True))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@settings(max_examples=10)
@given(batches(), st.booleans(), st.booleans())
def test_special_tokens_and_padding_are_never_touched(drawn, keep, cut):
    batch, scores = drawn
    # An example of special tokens alone has nothing to take away.
    free = ~torch.isin(batch["input_ids"], torch.tensor(SPECIAL))
    rows = (free & (batch["attention_mask"] == 1)).any(1)
    batch = {name: value[rows] for name, value in batch.items()}
    if not len(batch["input_ids"]):
        return
    if cut:
        batch["input_ids"][batch["attention_mask"].cumsum(1) == 1] = SPECIAL[0]
    model = build(UNPLACED)
    replace_with = "delete" if cut and keep else FILLER
    with watched(model) as seen:
        measure(
            model,
            batch,
            scores[rows],
            0,
            replace_with,
            special_tokens="keep" if keep else "perturb",
            special_ids=SPECIAL,
        )
    allowed = []
    for ids, mask in zip(*[value.tolist() for value in batch.values()], strict=True):
        real = [i for i, m in zip(ids, mask, strict=True) if m]
        allowed.append((real, [i for i, m in zip(ids, mask, strict=True) if not m]))
    for ids, mask in seen:
        left = [i for i, m in zip(ids, mask, strict=True) if m]
        pads = [i for i, m in zip(ids, mask, strict=True) if not m]
        assert any(
            fits(left, real, keep, replace_with) and pads == blank[: len(pads)]
            for real, blank in allowed
        )


def fits(left, real, keep, replace_with):
    """Whether a text can be what is left of another."""
    if replace_with == "delete":
        rest = iter(real)
        specials = [i for i in real if i in SPECIAL]
        return all(i in rest for i in left) and specials == [
            i for i in left if i in SPECIAL
        ]
    return len(left) == len(real) and all(
        a == b or (a == FILLER and not (keep and b in SPECIAL))
        for a, b in zip(left, real, strict=True)
    )


@settings(max_examples=10)
@given(batches())
def test_the_ends_are_the_whole_and_the_empty_input(drawn):
    batch, scores = drawn
    model, target = build(UNPLACED), [2] * len(scores)
    found = measure(model, batch, scores, target, FILLER)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        whole = model(**batch)
        empty = model(batch["input_ids"].where(~real, FILLER), batch["attention_mask"])
    p, q = whole.softmax(1)[:, 2], empty.softmax(1)[:, 2]
    moved = ((whole - empty) ** 2).sum(1)
    ends = {
        "activation": (q, p),
        "insertion": (q, p),
        "deletion": (p, q),
        "pruning": (p * 0, moved),
        "lerf_morf": (p * 0, p * 0),
    }
    for name, (first, last) in ends.items():
        assert_close(found[name].values[:, 0], first, rtol=0, atol=1e-12)
        assert_close(found[name].values[:, -1], last, rtol=0, atol=1e-12)
    for name in ("aopc", "log_odds"):
        assert (found[name].values[:, 0] == 0).all()


@settings(max_examples=10)
@given(seeds)
def test_equal_inputs_are_shown_once(seed):
    model = build(UNPLACED)
    words = torch.tensor([2, 4, 5, 6, 7, 8, 9, 10])
    ids = torch.stack([words[noise(8, seed=seed + row).argsort()] for row in (0, 1)])
    ids[:, 0] = torch.tensor([0, 1])  # stays, and tells the examples apart
    occlusion = Occlusion(model, ids, FILLER, special_ids=(0, 1))
    scores = noise(3, 2, 8, seed=seed)
    with watched(model) as seen:
        first = curves(occlusion, scores[0], 0, METRICS)
        once = len(seen)
        again = curves(occlusion, scores[0], 1, METRICS)
        assert len(seen) == once == occlusion.shown
        curves(occlusion, scores[1], 0, METRICS)
        occlusion.logits(torch.ones(2, 3, 8).bool())
    assert len(seen) == occlusion.shown
    assert len({tuple(ids) for ids, _ in seen}) == len(seen)
    # All, none, and 1 to 6 of the largest given or taken, the smallest, the faintest.
    assert once <= 2 * (1 + 1 + 4 * 6)
    assert not torch.equal(first["aopc"].values, again["aopc"].values)


def state(model):
    return (
        [(name, m.training) for name, m in model.named_modules()],
        [(p.requires_grad, p.grad, p._version) for p in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        [b.clone() for b in model.buffers()],
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_the_model_is_left_as_it_was_found(fails, grad):
    model = convolution(torch.float64)
    model.train()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    images = noise(2, 2, 4, 4).requires_grad_()
    filler = torch.nan if fails else 0.0
    with torch.set_grad_enabled(grad):
        before, chance = state(model), torch.get_rng_state()
        scores = noise(2, 2, 2)
        if fails:
            with pytest.raises(NonFiniteError, match="example 0.*replace_with"):
                measure(model, images, scores, 0, filler)
        else:
            first = measure(model, images, scores, 0, filler)
            same(measure(model.eval(), images, scores, 0, filler), first)
            model.train()
            model[2].eval()
        assert str(state(model)) == str(before)
        assert torch.equal(torch.get_rng_state(), chance)
    assert images.grad is None


def test_a_model_that_says_nan_of_a_part_is_named_with_its_example():
    class Brittle(nn.Module):
        def forward(self, ids):
            bad = (ids[:, 0] == 5) & (ids[:, 1] == FILLER)
            return (
                torch.stack([ids[:, 2] / 7, bad * torch.nan], 1).nan_to_num(0)
                + (torch.where(bad, torch.nan, 0.0)[:, None])
            )

    ids = torch.tensor([[1, 2, 4], [5, 2, 4]])
    scores = torch.tensor([[0.0, 1, 2], [0.0, 2, 1]])
    with pytest.raises(NonFiniteError, match="not finite for example 1.*replace_with"):
        faithfulness.aopc(Brittle(), ids, scores, 0, FILLER)


BAD = {
    "special_tokens": (
        {"special_tokens": "drop"},
        ArgumentError,
        "special_tokens='drop'.*'keep', 'perturb'",
    ),
    "ids that are words": ({"special_ids": ["a"]}, ArgumentError, r"special_ids=\['a'"),
    "text": ({"special_ids": "ab"}, ArgumentError, "special_ids=.*ids of tokens"),
    "all special": (
        {"special_ids": range(11)},
        TextError,
        "example 0 has nothing.*special_tokens='perturb'",
    ),
    "beyond the vocabulary": (
        {"replace_with": 11},
        ArgumentError,
        "replace_with=11.*token id below 11",
    ),
    "negative": ({"replace_with": -1}, ArgumentError, "replace_with=-1.*below 11"),
    "no id": ({"replace_with": 0.5}, ArgumentError, "replace_with=0.5.*token id"),
    "true": ({"replace_with": True}, ArgumentError, "replace_with=True.*token id"),
    "a name": ({"replace_with": "mask"}, ArgumentError, "replace_with='mask'.*delete"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("metric", [faithfulness.aopc, faithfulness.removal_error])
def test_options_that_are_none_are_refused(case, metric):
    options, error, message = BAD[case]
    options = {"replace_with": FILLER, **options}
    with pytest.raises(error, match=message):
        metric(build(), tokens(2, 4), noise(2, 4), 0, **options)


@pytest.mark.parametrize("shape", [(2, 3), (2,), (1, 4), (2, 4, 1)])
def test_a_special_tokens_mask_fits_the_inputs(shape):
    batch = {"input_ids": tokens(2, 4), "special_tokens_mask": torch.zeros(shape)}
    with pytest.raises(ArgumentError, match=r"special_tokens_mask has.*\(2, 4\)"):
        faithfulness.aopc(build(), batch, noise(2, 4), 0, FILLER)
    batch["special_tokens_mask"] = [[1, 0, 0, 0], [0, 0, 0, 1]]  # a tokenizer's list
    assert (
        faithfulness
        .aopc(build(), batch, noise(2, 4), 0, FILLER)
        .values.isfinite()
        .all()
    )


def test_floats_have_no_ids_and_cannot_be_cut_out():
    batch, scores = {"inputs_embeds": noise(2, 4, 8)}, noise(2, 4)
    with pytest.raises(ArgumentError, match=r"special_ids=\[3\].*special_tokens_mask"):
        faithfulness.aopc(build(), batch, scores, 0, 0.0, special_ids=[3])
    with pytest.raises(ArgumentError, match="replace_with='delete'.*number"):
        faithfulness.aopc(build(), batch, scores, 0, "delete")
    with pytest.raises(ArgumentError, match=r"replace_with.*\(3,\).*broadcast"):
        faithfulness.aopc(build(), batch, scores, 0, torch.zeros(3))


@pytest.mark.parametrize("name", ["activation", "insertion", "deletion", "pruning"])
def test_nothing_left_of_an_example_is_refused(name):
    batch = {"input_ids": tokens(2, 4), "attention_mask": torch.ones(2, 4)}
    batch["attention_mask"][1, 2:] = 0
    metric = getattr(faithfulness, name)
    with pytest.raises(ArgumentError, match="'delete' leaves nothing of example [01]"):
        metric(build(UNPLACED), batch, noise(2, 4), 0, "delete")


@pytest.mark.parametrize("grid", [(3, 4), (0, 4), (4,), (4, 4, 1), (8, 8)])
def test_a_grid_divides_the_image(grid):
    with pytest.raises(ArgumentError, match=r"\(2, 2, 4, 4\).*coarser grid"):
        Occlusion(convolution(), noise(2, 2, 4, 4), 0.0, grid=grid)
