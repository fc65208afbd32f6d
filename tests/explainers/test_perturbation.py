"""Explanations by perturbed inputs: against loops, enumeration and known models."""

import itertools
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from closed_forms import drawn
from generation_models import language_model, word_tokenizer
from lrp_hooks import Contrast, UnsupportedModelError, explain
from lrp_hooks.explainers import (
    IntegratedGradients,
    KernelShap,
    LeaveOneOut,
    Lime,
    ShapleyValueSampling,
    closed_form,
)
from shared_models import sentiment
from small_models import convolution, hugging_face
from strategies import Spec, build, noise, padded, tokens

METHODS = (LeaveOneOut, Lime, KernelShap, ShapleyValueSampling)
SHAPLEY = (KernelShap, ShapleyValueSampling)
POSITIONLESS = Spec(bias=False)
MASK, CLS, SEP = 10, 8, 9
TOKENIZER = SimpleNamespace(
    all_special_ids=[MASK, CLS, SEP], mask_token_id=MASK, unk_token_id=None
)


class Additive(nn.Module):
    """A logit is the sum of its tokens' weights."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 3).double()
        self.table.weight.data = noise(11, 3)
        self.seen = []

    def forward(self, input_ids, attention_mask=None):
        self.seen.append(tuple(input_ids.shape))
        values = self.table(input_ids)
        if attention_mask is not None:
            values *= attention_mask[..., None]
        return values.sum(1) + 5


def shapley(value, d):
    """Return Shapley values by enumeration of all coalitions."""
    found = torch.zeros(d, dtype=torch.float64)
    for j in range(d):
        others = [k for k in range(d) if k != j]
        for size in range(d):
            weight = math.factorial(size) * math.factorial(d - size - 1)
            for kept in itertools.combinations(others, size):
                gain = value({*kept, j}) - value(set(kept))
                found[j] += weight / math.factorial(d) * gain
    return found


def replacing(model, ids, by, target):
    """Return the value of a coalition of positions of one text."""

    def value(kept):
        own = [int(i) if k in kept else by for k, i in enumerate(ids)]
        with torch.no_grad():
            return model(torch.tensor([own]))[0, target]

    return value


@pytest.mark.parametrize("seed", range(3))
def test_leave_one_out_is_a_loop(seed):
    model, ids = build(seed=seed), tokens(3, 5, seed)
    found = LeaveOneOut(model, replace_with=4)(ids)
    target = model(ids).argmax(1)
    for row, t in itertools.product(range(3), range(5)):
        other = ids[row : row + 1].clone()
        other[0, t] = 4
        loss = model(ids[row : row + 1]) - model(other)
        assert_close(found.scores[row, t], loss[0, target[row]])
    assert torch.equal(found.target, target)
    assert_close(found.output, model(ids).amax(1))


def test_deleting_takes_the_token_out_of_all_inputs():
    model = hugging_face("bert", torch.float64)
    ids, kinds = tokens(2, 6), torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    batch = {"input_ids": ids, "token_type_ids": kinds, "attention_mask": mask}
    found = LeaveOneOut(model, replace_with="delete")(batch, target=1)
    for row in range(2):
        n = int(mask[row].sum())
        whole = {k: v[row : row + 1, :n] for k, v in batch.items()}
        for t in range(n):
            left = {
                k: torch.cat([v[:, :t], v[:, t + 1 :]], 1) for k, v in whole.items()
            }
            loss = model(**whole).logits[0, 1] - model(**left).logits[0, 1]
            assert_close(found.scores[row, t], loss)
    assert not found.scores[1, 4:].any()


@pytest.mark.parametrize("left", [True, False])
def test_deleting_closes_positions_up(left):
    model = hugging_face("gpt2", torch.float64)
    batch = padded([tokens(1, 4)[0], tokens(1, 7)[0]], left)
    batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    found = LeaveOneOut(model, replace_with="delete")(batch)
    ids = tokens(1, 4)
    logits = model(ids).logits[0, -1]
    target = logits.argmax()
    for t, place in enumerate(found.attended[0].nonzero()[:, 0]):
        other = model(torch.cat([ids[:, :t], ids[:, t + 1 :]], 1)).logits[0, -1]
        assert_close(found.scores[0, place], logits[target] - other[target])


@pytest.mark.parametrize("replace_with", [MASK, "delete"])
def test_additive_models_have_their_weights_as_scores(replace_with):
    model, ids = (
        Additive(),
        torch.tensor([[CLS, 3, 5, 3, 0, SEP], [CLS, 1, 2, 4, 6, SEP]]),
    )
    lost = model.table.weight[MASK, 1] if replace_with == MASK else 0
    expected = model.table.weight[ids, 1] - lost
    expected[:, [0, -1]] = 0
    for method in (LeaveOneOut, *SHAPLEY):
        found = method(model, TOKENIZER, replace_with=replace_with)(ids, target=1)
        assert found.scores.dtype == torch.float64
        assert_close(found.scores, expected.detach(), rtol=0, atol=2e-6)
    free = Lime(model, TOKENIZER, replace_with=replace_with, alpha=0)(ids, target=1)
    assert_close(free.scores, expected.detach(), rtol=0, atol=2e-6)


def test_lime_has_the_coefficients_up_to_its_penalty():
    model, ids = Additive(), torch.tensor([[3, 5, 2, 0, 7]])
    expected = (model.table.weight[ids, 1] - model.table.weight[MASK, 1]).detach()
    errors = []
    for n in (100, 1000, 4000):
        found = Lime(model, TOKENIZER, n_samples=n)(ids, target=1)
        errors.append((found.scores - expected).norm() / expected.norm())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("width", [25.0, math.inf])
def test_lime_comes_to_its_exact_limit(width):
    model = drawn(seed=1)
    ids = torch.tensor([0, 2, 3, 4, 5, 6, 7, 1, 1, 1, 1, 1])
    special = SimpleNamespace(all_special_ids=[0, 1], unk_token_id=None)
    limit = closed_form.lime_limit(model, ids, kernel_width=width)
    lime = Lime(model, special, n_samples=5000, kernel_width=width, replace_with=1)
    found = lime(ids[None], target=1).scores[0]
    assert (found - limit).norm() < 0.02 * limit.norm()
    assert not found[limit == 0].any()


@pytest.mark.parametrize("method", SHAPLEY)
@pytest.mark.parametrize("seed", range(2))
def test_shapley_values_against_enumeration(method, seed):
    model, ids = build(seed=seed), tokens(1, 5, seed)
    value = replacing(model, ids[0], by=4, target=1)
    exact = shapley(value, 5)
    found = method(model, n_samples=2000, replace_with=4)(ids, target=1)
    assert_close(found.scores[0], exact, rtol=0, atol=0.05 * float(exact.norm()))
    away = value(set(range(5))) - value(set())
    assert_close(found.scores.sum(), away, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("replace_with", [4, "delete"])
@pytest.mark.parametrize("as_mapping", [True, False])
def test_a_batch_is_its_examples_one_by_one(method, left, replace_with, as_mapping):
    model = build(POSITIONLESS)
    rows = [torch.tensor([CLS, *tokens(1, n, seed=n)[0] % 8]) for n in (3, 6, 1)]
    batch = padded(rows, left)
    explainer = method(model, TOKENIZER, replace_with=replace_with)
    found = explainer(batch if as_mapping else tuple(batch.values()), target=1)
    kept = batch["attention_mask"].bool()
    assert torch.equal(found.attended, kept)
    assert not found.scores[~kept].any()
    assert not found.scores[batch["input_ids"] == CLS].any()
    calls = 0
    for row, own in enumerate(rows):
        alone = explainer(own[None], target=1)
        assert_close(found.scores[row][kept[row]], alone.scores[0], atol=1e-6, rtol=0)
        calls += alone.meta["model_calls"]
    assert found.meta["model_calls"] == calls


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_hugging_face_models(method, family):
    model = hugging_face(family)
    batch = padded([tokens(1, 5)[0], tokens(1, 7)[0]], left=False)
    found = method(model)(batch)  # the config's pad_token_id, 0
    assert found.meta["replace_with"] == 0
    logits = model(**batch).logits
    if logits.ndim == 3:  # the last attended position
        logits = logits[[0, 1], [4, 6]]
    assert torch.equal(found.target, logits.argmax(1))
    assert_close(found.output, logits.amax(1))
    assert found.scores.isfinite().all()
    assert not found.scores[~found.attended].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_text(method):
    model, tokenizer = sentiment()
    texts = ["a gripping film", "a dull film", "dull"]
    found = explain(model, texts, method.method, tokenizer, target="positive")
    assert found.method == method.method
    assert found.targets == ["positive"] * 3
    assert found.meta["replace_with"] == tokenizer.mask_token_id
    for row, length in enumerate((5, 5, 3)):
        assert not found.scores[row, [0, *range(length - 1, 5)]].any()
    assert found.scores[0, 2] > 0 > found.scores[1, 2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("replace_with", [None, "delete"])
def test_the_only_token_has_all_there_is(method, replace_with):
    model = Additive()
    explainer = method(model, TOKENIZER, replace_with=replace_with)
    found = explainer(torch.tensor([[CLS, 3, SEP]]), target=2)
    lost = 0 if replace_with else model.table.weight[MASK, 2]
    expected = [0, (model.table.weight[3, 2] - lost).item(), 0]
    assert found.scores[0].tolist() == pytest.approx(expected)
    assert found.meta["model_calls"] == 2


@pytest.mark.parametrize("method", METHODS)
def test_vectors_images_and_embeddings(method):
    weights, x = noise(3, 4), noise(2, 4, seed=1)
    linear = nn.Linear(4, 3).double()
    linear.weight.data = weights
    options = {"alpha": 0} if method is Lime else {}
    found = method(linear, **options)(x, target=1).scores
    assert_close(found, weights[1] * x, rtol=0, atol=2e-6)
    mean = x.mean(0)
    found = method(linear, replace_with=mean, **options)(x, target=1).scores
    assert_close(found, weights[1] * (x - mean), rtol=0, atol=2e-6)
    model, ids = build(), tokens(2, 4)
    embeddings = {"inputs_embeds": model.embedding(ids).detach()}
    start = model.embedding.weight[4].detach()
    found = method(model, replace_with=start)(embeddings, target=1)
    expected = method(model, replace_with=4)(ids, target=1)
    assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)


def test_patches_of_images():
    model, images = convolution().eval(), noise(2, 2, 4, 4, dtype=torch.float32)
    found = LeaveOneOut(model, patch=3, replace_with=0.5)(images, target=1).scores
    assert found.shape == (2, 4, 4)
    for rows, columns in itertools.product([slice(3), slice(3, 4)], repeat=2):
        other = images.clone()
        other[:, :, rows, columns] = 0.5
        loss = (model(images) - model(other))[:, 1]
        assert_close(
            found[:, rows, columns],
            (loss / other[0, 0, rows, columns].numel())[:, None, None].expand_as(
                found[:, rows, columns]
            ),
        )
    assert LeaveOneOut(model)(images).meta["model_calls"] == 2 * (1 + 16)


@pytest.mark.parametrize("method", METHODS)
def test_each_target(method):
    model, ids = build(), tokens(2, 4)
    explain = method(model, replace_with=4)
    one, two = (explain(ids, target=t).scores for t in (0, 2))
    close = {"rtol": 0, "atol": 1e-5}
    assert_close(explain(ids, target=Contrast(0, [2, 2])).scores, one - two, **close)
    mixed = explain(ids, target=[0, 2]).scores
    assert_close(mixed, torch.stack([one[0], two[1]]), **close)
    assert_close(explain(ids, target=lambda out: out[:, 0]).scores, one, **close)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_chance_are_left_as_they_were(method):
    model = build()
    model.train()
    model.blocks[0].eval()
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    ids, graphs = tokens(2, 4), []
    hook = model.head.register_forward_hook(
        lambda *a: graphs.append(a[-1].requires_grad)
    )
    found = method(model, replace_with=4)(ids, target=1)
    hook.remove()
    assert not any(graphs)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == flags
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.no_grad():
        again = method(model.eval(), replace_with=4)(ids, target=1)
    assert_close(found.scores, again.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [Lime, *SHAPLEY])
def test_one_seed_one_answer(method):
    model, ids = build(), tokens(1, 7)
    first, again, other = (
        method(model, replace_with=4, seed=s, n_samples=20)(ids).scores
        for s in (1, 1, 2)
    )
    assert_close(first, again, rtol=0, atol=1e-12)  # LAPACK's last digit wanders
    assert (first - other).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("replace_with", [MASK, "delete"])
def test_batches_of_one_length_and_no_sequence_twice(method, replace_with):
    model, ids = Additive(), torch.tensor([[CLS, 3, 5, 1, 0]])
    explainer = method(model, TOKENIZER, replace_with=replace_with, batch_size=3)
    found = explainer(ids, target=1)
    shown = [n for n, _ in model.seen]
    assert max(shown) <= 3
    assert sum(shown) == found.meta["model_calls"] <= 2**4
    lengths = {length for _, length in model.seen}
    most = 1 if method is LeaveOneOut else 4
    assert lengths == ({5} if replace_with == MASK else set(range(5 - most, 6)))


@pytest.mark.parametrize("method", ["leave_one_out", "lime", "kernel_shap"])
def test_what_begins_texts_stays_though_it_stands_for_unknown_words(method):
    """As of OPT: one token begins and ends texts, and stands for unknown words."""
    model, tokenizer = language_model(shape="Llama"), word_tokenizer()
    tokenizer.unk_token = tokenizer.eos_token = "<s>"
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(["<s>", "the", "capital"])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = explain(
            *(model, {"input_ids": ids}, method, tokenizer), target=3, replace_with=5
        )
    assert found.scores[0, 0] == 0 and (found.scores[0, 1:] != 0).any()


@pytest.mark.parametrize("method", [Lime, KernelShap])
def test_one_seed_has_one_answer_to_the_bit(method):
    """Wherever in memory the tensors of the fit come to lie."""
    explainer, ids = method(build(), replace_with=4, n_samples=20), tokens(2, 6)
    first = explainer(ids).scores
    for size in range(1, 60, 3):
        moved = [torch.empty(size) for _ in range(3)]
        assert torch.equal(first, explainer(ids).scores), len(moved)


class Held(nn.Module):
    """A linear read-out of tokens that lie in a container, beside others."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 2).double()

    def forward(self, weights, held):
        return self.map((weights[..., None] * held["inside"][0].sin()).sum(1))


@pytest.mark.parametrize("method", [*METHODS, IntegratedGradients])
def test_what_lies_in_a_container_is_of_the_same_example(method):
    model, batch = Held(), 2
    weights, inside = noise(batch, 4), noise(batch, 4, 3)
    options = {} if method is IntegratedGradients else {"patch": 1}
    explainer = method(model, **options)
    # As many perturbed copies as examples would fit the others' rows just as well.
    both = explainer({"weights": weights, "held": {"inside": (inside,)}}, target=1)
    for row in range(batch):
        one = slice(row, row + 1)
        alone = {"weights": weights[one], "held": {"inside": [inside[one]]}}
        assert_close(both.scores[one], explainer(alone, target=1).scores)


@pytest.mark.parametrize("method", [LeaveOneOut, IntegratedGradients])
def test_a_cache_of_each_example_is_refused(method):
    model = language_model("Llama")
    ids = tokens(1, 6)
    with torch.no_grad():
        cache = model(ids[:, :3], use_cache=True).past_key_values
    given = {"input_ids": ids[:, 3:], "past_key_values": cache}
    options = {} if method is IntegratedGradients else {"replace_with": 5}
    with pytest.raises(UnsupportedModelError, match=r"past_key_values is a .*Cache"):
        method(model, **options)(given, target=1)
