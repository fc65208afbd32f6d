"""Rows are examples, or it is said: scores + sources = output for each of them."""

import warnings

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from hand_built import calm
from lrp_hooks import ArgumentError, UnruledError, UnruledWarning, instrument
from strategies import Spec, build, noise, seeds, tokens

TOLD = "rows of the batch interact.*batch_dim="


def gap(found):
    """Return |output - scores - sources| of each example."""
    parts = [sums(found), *found.ledger.sources.values()]
    return (found.output.double() - sum(parts)).abs()


def sums(found):
    """Return the sum of scores of each example, of all that was read."""
    several = isinstance(found.scores, dict)
    parts = found.scores.values() if several else [found.scores]
    return sum(part.double().flatten(1).sum(1) for part in parts)


def check_rows(found):
    """Verify that all that is said of an example agrees."""
    assert_close(sums(found).to(found.ledger.inputs), found.ledger.inputs)
    error = found.ledger.error.double() * found.ledger.scale
    assert_close(error, gap(found), rtol=1e-5, atol=1e-6)
    if not isinstance(found.scores, dict):
        assert_close(found.complete().flatten(1).sum(1), found.ledger.total)


class Mixed(nn.Module):
    """Mixes the rows of a batch by a matrix [B, B], behind an affine map."""

    def __init__(self, matrix, bias=True):
        super().__init__()
        torch.default_generator.manual_seed(1)
        self.map = nn.Linear(4, 3, bias=bias, dtype=torch.float64)
        self.register_buffer("matrix", matrix)

    def forward(self, x):
        return self.matrix @ self.map(x)


@calm
@given(seeds, st.integers(2, 5), st.booleans(), st.sampled_from(["conservative", "ah"]))
def test_what_comes_from_other_rows_is_told_and_not_shared_out(
    seed, batch, bias, rules
):
    matrix, x = noise(batch, batch, seed=seed), noise(batch, 4, seed=seed + 1)
    model = Mixed(matrix, bias)
    with instrument(model, rules) as lrp:
        with pytest.warns(UnruledWarning, match=TOLD):
            found = lrp.attribute(x, 1)
    check_rows(found)
    own = matrix.diag()[:, None] * model.map.weight[1].detach() * x
    assert_close(found.values, own)
    others = (matrix - matrix.diag().diag()) @ (x @ model.map.weight[1].detach())
    assert_close(gap(found), others.abs())


@calm
@given(seeds, st.integers(2, 5), st.sampled_from(["conservative", "ah", "gradient"]))
def test_rows_that_are_examples_are_not_told_of(seed, batch, rules):
    matrix, x = noise(batch, seed=seed).diag(), noise(batch, 4, seed=seed + 1)
    with (
        warnings.catch_warnings(),
        instrument(Mixed(matrix), rules, strict=True) as lrp,
    ):
        warnings.simplefilter("error")
        found = lrp.attribute(x, 1)
    check_rows(found)
    assert (gap(found) < 1e-10).all()


MIXERS = {
    "roll": lambda x: x.roll(-1, 0),
    "centred": lambda x: x - x.mean(0),
    "flip": lambda x: x.flip(0),
    "running sum": lambda x: x.cumsum(0),
}


class Mixer(nn.Module):
    def __init__(self, mix):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.map, self.mix = nn.Linear(4, 3), mix

    def forward(self, x):
        return self.mix(self.map(x))


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient", "ah+ln"])
def test_mixers(name, rules):
    x = noise(4, 4, dtype=torch.float32)
    with instrument(Mixer(MIXERS[name]), rules) as lrp:
        for _ in range(2):
            with pytest.warns(UnruledWarning, match=TOLD):
                found = lrp.attribute(x, 1)
            check_rows(found)
        with pytest.warns(UnruledWarning, match=TOLD):
            each = lrp.attribute_each(x)
    assert_close(each[1].values, found.values)
    with instrument(Mixer(MIXERS[name]), rules, strict=True) as lrp:
        with pytest.raises(UnruledError, match=TOLD):
            lrp.attribute(x, 1)


def test_statistics_of_the_batch():
    norm = nn.BatchNorm1d(3, track_running_stats=False)
    x = noise(4, 4, dtype=torch.float32)
    with instrument(nn.Sequential(nn.Linear(4, 3), norm)) as lrp:
        with pytest.warns(UnruledWarning, match=TOLD):
            check_rows(lrp.attribute(x, 1))


def test_a_target_that_mixes_examples():
    with instrument(build()) as lrp:
        with pytest.warns(UnruledWarning, match=TOLD):
            found = lrp.attribute(
                tokens(2, 3), lambda out: out[:, 1] - out[:, 1].mean()
            )
    check_rows(found)


def test_similarities_of_images_and_texts():
    part = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    text = {**part, "vocab_size": 64, "eos_token_id": 2, "bos_token_id": 1}
    vision = {**part, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=8
    )
    torch.default_generator.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    ids = tokens(3, 6) + 3
    ids[:, -1] = 2
    inputs = {"input_ids": ids, "pixel_values": noise(3, 3, 16, 16).float()}
    with instrument(model) as lrp:
        with pytest.warns(UnruledWarning, match=TOLD):
            check_rows(lrp.attribute(inputs, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = lrp.attribute(inputs, lambda out: out.logits_per_text.diagonal())
    check_rows(found)
    assert (gap(found) < 1e-4).all()


def encoder(batch_first):
    torch.default_generator.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, batch_first=batch_first, dtype=torch.float64
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.mark.parametrize(("batch", "length"), [(2, 5), (3, 3), (1, 4), (4, 1)])
@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient"])
def test_time_comes_first(batch, length, rules):
    x = noise(batch, length, 8)
    with instrument(encoder(True), rules, strict=True) as lrp:
        right = lrp.attribute(x, 2)
        each = lrp.attribute_each(x)
    with instrument(encoder(False), rules, strict=True) as lrp:
        turned = x.transpose(0, 1)
        found = lrp.attribute(turned, 2, batch_dim=1)
        found_each = lrp.attribute_each(turned, batch_dim=1)
        audit = lrp.audit(turned, 2, batch_dim=1)
    check_rows(found)
    for a, b in ((found, right), (found_each[3], each[3])):
        assert_close(a.values, b.values)
        assert_close(a.output, b.output)
        assert_close(a.ledger.error, b.ledger.error)
        for name, terms in b.ledger.sources.items():
            assert_close(a.ledger.sources[name], terms, msg=name)
    assert_close(audit.ledger.total, right.ledger.total)


def test_time_first_where_rows_were_asked_for():
    with instrument(encoder(False)) as lrp:
        with pytest.warns(UnruledWarning, match=r"batch_dim= \(1, 2\)"):
            check_rows(lrp.attribute(noise(5, 2, 8)))


class Turned(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids):
        return self.inner(ids.T)


def test_ids_with_time_first():
    inner, ids = build(Spec(("mlp",), ("layer",))), tokens(2, 5)
    with instrument(inner) as lrp:
        right = lrp.attribute(ids, 1)
    with instrument(Turned(inner), strict=True) as lrp:
        found = lrp.attribute(ids.T.contiguous(), 1, batch_dim=1)
    assert_close(found.scores, right.scores)
    check_rows(found)


@pytest.mark.parametrize("axis", [2, -1, True, 1.0, "1"])
def test_an_axis_that_is_none(axis):
    with instrument(Mixer(torch.tanh)) as lrp:
        with pytest.raises(ArgumentError, match="batch_dim=.*from 0 to 1"):
            lrp.attribute(torch.ones(2, 4), 1, batch_dim=axis)


class Rows(nn.Module):
    """Reads several texts an example as rows of one batch, [B, C, T]."""

    def __init__(self, merged=1):
        super().__init__()
        self.table, self.head = nn.Embedding(11, 4), nn.Linear(4, 1)
        self.merged = merged

    def forward(self, ids):
        rows = ids.flatten(0, 1)
        if self.merged > 1:
            rows = rows.reshape(self.merged * len(rows), -1)
        found = self.head(self.table(rows).mean(1))
        return found.reshape(*ids.shape[:2], -1).mean(2)


def test_texts_of_an_example_have_scores_by_example():
    ids = torch.stack([tokens(3, 4), tokens(3, 4).flip(0)])
    model = Rows()
    with instrument(model) as lrp:
        found = lrp.attribute(ids, [1, 2])
    assert found.scores.shape == (2, 3, 4)
    assert torch.allclose(found.complete().sum((1, 2)), found.output)
    for b, text in enumerate((1, 2)):
        assert not found.scores[b, [c for c in range(3) if c != text]].any()
        values = model.table(ids[b, text]) @ model.head.weight[0] / 4
        assert torch.allclose(found.scores[b, text], values.detach(), atol=1e-6)


def test_scores_of_other_rows_than_examples_are_refused():
    with instrument(Rows(merged=2)) as lrp:
        with pytest.raises(ArgumentError, match="1 examples as 6 rows"):
            lrp.attribute(tokens(3, 4)[None], 1)
