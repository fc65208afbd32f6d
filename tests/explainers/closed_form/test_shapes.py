"""Value width, scale and positions as options: every form against its reference."""

import pytest
import torch
from torch.testing import assert_close

from closed_forms import IDS
from lrp_hooks import ArgumentError
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier, references
from lrp_hooks.explainers.closed_form.quantitative import masked_logits

OPTIONS = {
    "wide values": {"value_dim": 7},
    "narrow values": {"value_dim": 1},
    "no scale": {"scale": False},
    "no positions": {"positions": False},
    "all": {"value_dim": 5, "scale": False, "positions": False},
}


def made(options, n_heads=2, seed=0):
    with torch.random.fork_rng():
        model = AttentionClassifier(12, n_heads, 8, 4, 12, **options)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data.normal_(std=0.5, generator=generator)
    return model.double()


def alone(model, head, options):
    """The classifier of one head."""
    single = made(options, n_heads=1)
    single.embedding.load_state_dict(model.embedding.state_dict())
    single.heads[0].load_state_dict(model.heads[head].state_dict())
    return single


@torch.no_grad()
def by_hand(model, options):
    """The logit of class 1, spelled out with what the options change."""
    x = model.embedding.weight[IDS]
    if options.get("positions", True):
        x += model.positions
    logits = []
    for head in model.heads:
        scores = (x @ head.key.weight.T) @ (head.query.weight @ x[0])
        if options.get("scale", True):
            scores /= 4**0.5
        mixed = scores.softmax(0) @ (x @ head.value.weight.T)
        logits.append(head.classifier.weight[1] @ mixed)
    return torch.stack(logits).mean()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_form_holds_with_every_option(options):
    model = made(options)
    assert_close(model(IDS[None])[0, 1], by_hand(model, options))
    assert closed_form.verify_closed_forms(model, IDS).holds
    if not options.get("positions", True):
        found = closed_form.attention(model, torch.tensor([0] + [3] * 11))
        assert_close(found[1:], found[1].expand(11))


@pytest.mark.parametrize(
    "form", [closed_form.lime_limit, closed_form.lime_approximation]
)
@pytest.mark.parametrize("options", [{}, OPTIONS["all"]])
def test_lime_is_additive_over_heads(form, options):
    model = made(options, n_heads=3)
    parts = [form(alone(model, head, options), IDS) for head in range(3)]
    assert_close(form(model, IDS), torch.stack(parts).mean(0))


def test_sampled_lime_is_additive_over_heads():
    # The same samples, so the fit is linear in the output to rounding.
    model = made({}, n_heads=3)

    def sampled(one):
        return references.sampled(one, IDS, 200, torch.Generator().manual_seed(0))

    parts = [sampled(alone(model, head, {})) for head in range(3)]
    assert_close(sampled(model), torch.stack(parts).mean(0))


def test_max_attention_is_not_additive_over_heads():
    model = made({}, n_heads=3)
    parts = [
        closed_form.attention(alone(model, head, {}), IDS, "max") for head in range(3)
    ]
    gap = closed_form.attention(model, IDS, "max") - torch.stack(parts).mean(0)
    assert gap.abs().max() > 1e-3


def test_masked_logits_are_those_of_the_classifier():
    model = made({})
    words = sorted(set(IDS.tolist()) - {0, 1})
    masks = (torch.arange(2 ** len(words))[:, None] >> torch.arange(len(words))) & 1
    shown = []
    for mask in masks:
        gone = [w for w, kept in zip(words, mask, strict=True) if not kept]
        shown.append(torch.where(torch.isin(IDS, torch.tensor(gone)), 1, IDS))
    with torch.no_grad():
        wanted = model(torch.stack(shown))[:, 1]
    assert_close(masked_logits(model, IDS, masks), wanted)


def test_a_value_width_that_is_none_is_refused():
    with pytest.raises(ArgumentError, match="value_dim=0 is no size"):
        AttentionClassifier(12, value_dim=0)


@pytest.mark.parametrize("option", ["scale", "positions"])
@pytest.mark.parametrize("value", ["no", 1, None, 0.5])
def test_an_option_that_is_neither_true_nor_false_is_refused(option, value):
    with pytest.raises(ArgumentError, match=f"{option}={value!r} must be True or"):
        AttentionClassifier(12, **{option: value})
