"""The laws of relevance, on networks drawn at random."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lrp_hooks.rules import Attention
from torch.testing import assert_close

from lrp_hooks import RuleSet, instrument
from strategies import EPSILON, POOLS, Spec, build, dtypes, noise, seeds, specs, tokens

COMPLETE = ("conservative", "cp-lrp", "attnlrp")
plain = specs(bias=st.just(False), class_token=st.just(False))
sizes = st.integers(1, 4)
lengths = st.integers(1, 5)


def explain(model, inputs, rules="conservative", **options):
    with instrument(model, rules) as lrp:
        return lrp.attribute(inputs, **options)


@given(plain, seeds, dtypes, sizes, lengths)
def test_conservation_at_the_input_and_every_cut(spec, seed, dtype, batch, length):
    model = build(spec, seed, dtype)
    cuts = [f"blocks.{i}" for i in range(len(spec.parts))]
    found = explain(model, tokens(batch, length, seed), target=1, layers=cuts)
    for values in (found.values, *found.layers.values()):
        terms = values.flatten(1)
        size = torch.maximum(found.output.abs(), terms.abs().sum(1))
        gap = (terms.sum(1) - found.output).abs()
        assert (gap <= EPSILON[dtype] * size).all()


@given(specs(), seeds, dtypes, sizes, lengths, st.sampled_from(COMPLETE))
def test_the_ledger_closes_for_each_example(spec, seed, dtype, batch, length, rules):
    model = build(spec, seed, dtype)
    ids = tokens(batch, length, seed)
    found = explain(model, ids, rules)
    ledger = found.ledger
    assert (ledger.error <= EPSILON[dtype]).all()
    assert_close(found.output, model(ids).amax(1).detach())
    assert_close(ledger.inputs, found.scores.sum(1))
    for name, terms in ledger.positions.items():
        assert_close(terms.sum(1), ledger.sources[name])


@given(specs(), seeds, st.floats(0.0, 0.5))
def test_every_query_key_share_is_complete(spec, seed, share):
    rules = RuleSet.named("conservative").override(attention=Attention(share))
    found = explain(build(spec, seed), tokens(2, 3, seed), rules)
    assert (found.ledger.error <= 1e-10).all()


@given(specs(), seeds, dtypes)
def test_outputs_are_bit_identical(spec, seed, dtype):
    model, ids = build(spec, seed, dtype), tokens(3, 4, seed)
    recorded = model(ids)
    with torch.no_grad():
        unrecorded = model(ids)
    with instrument(model):
        assert torch.equal(model(ids), recorded)
        with torch.no_grad():
            assert torch.equal(model(ids), unrecorded)


@given(specs(), seeds, st.sampled_from((*COMPLETE, "gradient", "ah", "ln", "ah+ln")))
def test_a_batch_is_its_examples_one_by_one(spec, seed, rules):
    model, ids = build(spec, seed), tokens(3, 3, seed)
    with instrument(model, rules) as lrp:
        together = lrp.attribute(ids, target=[0, 1, 2])
        for row in range(3):
            alone = lrp.attribute(ids[row : row + 1], target=row)
            assert_close(together.values[row : row + 1], alone.values)
            sources = alone.ledger.sources
            assert together.ledger.sources.keys() == sources.keys()
            for name, terms in sources.items():
                assert_close(
                    together.ledger.sources[name][row : row + 1], terms.double()
                )


@given(specs(), seeds, st.floats(-3, 3), st.floats(-3, 3))
def test_relevance_is_linear_in_the_output_seed(spec, seed, a, b):
    model, x = build(spec, seed), noise(2, 3, 8, seed=seed).requires_grad_()
    with instrument(model):
        logits = model(inputs_embeds=x)

        def pulled(weights):
            scalar = (logits * torch.tensor(weights, dtype=x.dtype)).sum()
            return torch.autograd.grad(scalar, x, retain_graph=True)[0]

        mixed = pulled([a, b, 0.0])
        first, second = pulled([1.0, 0.0, 0.0]), pulled([0.0, 1.0, 0.0])
    assert_close(mixed, a * first + b * second)


@given(specs(), seeds, st.booleans())
def test_padding_is_zero_and_changes_nothing(spec, seed, left):
    last_or_first = spec.pool in {"first", "tanh"} and not spec.class_token
    left = left and not last_or_first and not spec.bias
    model, ids = build(spec, seed), tokens(2, 3, seed)
    pads = tokens(2, 2, seed + 1)
    mask = torch.ones(2, 3, dtype=torch.long)
    parts = (pads, ids) if left else (ids, pads)
    masks = (0 * mask[:, :2], mask) if left else (mask, 0 * mask[:, :2])
    with instrument(model) as lrp:
        bare = lrp.attribute({"input_ids": ids, "attention_mask": mask}, target=[0, 1])
        inputs = {
            "input_ids": torch.cat(parts, 1),
            "attention_mask": torch.cat(masks, 1),
        }
        padded = lrp.attribute(inputs, target=[0, 1])
    assert (padded.values[inputs["attention_mask"] == 0] == 0).all()
    assert_close(
        padded.values[inputs["attention_mask"] == 1].view_as(bare.values), bare.values
    )
    assert (padded.complete()[inputs["attention_mask"] == 0] == 0).all()
    assert_close(padded.output, bare.output)


@given(specs(), seeds, st.sampled_from(COMPLETE))
def test_gradients_of_any_other_tool_are_relevance(spec, seed, rules):
    model, x = build(spec, seed), noise(2, 3, 8, seed=seed).requires_grad_()
    with instrument(model, rules) as lrp:
        found = lrp.attribute({"inputs_embeds": x}, target=2)
        model(inputs_embeds=x)[:, 2].sum().backward()
    assert_close(x.grad * x, found.values)


@given(specs(), seeds, st.sampled_from(COMPLETE))
def test_frozen_and_trainable_parameters_give_the_same_numbers(spec, seed, rules):
    model, ids = build(spec, seed), tokens(2, 3, seed)
    trained = explain(model, ids, rules)
    model.requires_grad_(False)
    frozen = explain(model, ids, rules)
    assert_close(trained.values, frozen.values)
    assert trained.ledger.sources.keys() == frozen.ledger.sources.keys()
    assert_close(trained.ledger.total, frozen.ledger.total)


@given(seeds, st.sampled_from(POOLS), st.sampled_from((*COMPLETE, "ah+ln")))
def test_eager_attention_equals_the_fused_kernel(seed, pool, rules):
    found = []
    for kind in ("explicit", "fused"):
        parts = (kind, "gate", kind)
        model = build(Spec(parts, ("layer", "rms", "none"), pool=pool), seed)
        found.append(explain(model, tokens(2, 4, seed), rules))
    eager, fused = found
    assert_close(eager.values, fused.values)
    if rules in COMPLETE:
        assert_close(eager.ledger.total, fused.ledger.total)


@given(specs(), seeds)
def test_the_ledger_error_of_incomplete_sets_is_an_honest_number(spec, seed):
    found = explain(build(spec, seed), tokens(2, 3, seed), "ah+ln")
    ledger = found.ledger
    terms = torch.stack([ledger.inputs, *ledger.sources.values()])
    size = torch.maximum(found.output.abs(), terms.abs().sum(0))
    assert_close(ledger.error, (found.output - terms.sum(0)).abs() / size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rules", [*COMPLETE, "ah+ln", "gradient"])
def test_exact_zeros_are_finite_and_carry_nothing(rules, dtype):
    model = build(dtype=dtype)
    x = noise(2, 4, 8, dtype=dtype)
    x[:, 1] = 0
    x[0] = 0
    found = explain(model, {"inputs_embeds": x}, rules, target=0)
    assert found.values.isfinite().all()
    assert (found.values[x == 0] == 0).all()
    assert found.ledger.error.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bias_free_network_of_zeros_is_all_zero(dtype):
    spec = Spec(("explicit", "gate", "mlp"), ("layer", "none", "none"), bias=False)
    x = torch.zeros(1, 3, 8, dtype=dtype)
    found = explain(build(spec, dtype=dtype), {"inputs_embeds": x})
    assert (found.values == 0).all()
    assert (found.output == 0).all()
    assert (found.ledger.error == 0).all()
