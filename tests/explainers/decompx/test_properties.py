"""What holds for every encoder, rule and batch, against an oracle written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from decompx_models import Encoder, batch, fresh, made, rows, tiny
from decompx_oracle import decomposed
from lrp_hooks.explainers import DecompX

RULES = ("absdot", "abssim", "norm", "equal", "first", "token", "none")
COMPLETE = RULES[:-1]
INNER = ("attention", "res1", "ln1", "ffn", "res2", "encoder")
STAGES = (*INNER, "aggregated", "pooler")

seeds = st.integers(0, 2**31)
lengths = st.integers(1, 5)
rules = st.sampled_from(RULES)
complete_rules = st.sampled_from(COMPLETE)
activations = st.sampled_from(["secant", "tangent"])
value_biases = st.sampled_from(["follow", "distribute"])


def ids(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 30, shape, generator=generator)


def padded(seed: int, size: int, length: int) -> dict[str, Tensor]:
    """Return a batch of examples of different lengths, the first one whole."""
    generator = torch.Generator().manual_seed(seed)
    n = torch.randint(1, length + 1, (size, 1), generator=generator)
    n[0] = length
    mask = (torch.arange(length) < n).long()
    return {"input_ids": ids(seed, size, length), "attention_mask": mask}


@given(seeds, lengths, rules, activations, value_biases, st.booleans(), st.booleans())
def test_it_is_the_papers_mathematics(
    seed, length, rule, activation, value_bias, include_ffn, fused
):
    options = {
        "bias": rule,
        "activation": activation,
        "value_bias": value_bias,
        "include_ffn": include_ffn,
    }
    model, text = made(Encoder, fused, seed=seed), ids(seed, 1, length)
    right = decomposed(model, text[0], **options)
    found = DecompX(model, **options, stages=INNER, vectors=True)(text, "all")
    plain = DecompX(model, **options)(text, "all")
    assert_close(found.output[0], right.pop("logits"), rtol=1e-9, atol=1e-9)
    classes = right.pop("classes")
    for scores in (found.scores, plain.scores):
        assert_close(scores[0], classes, rtol=1e-9, atol=1e-9)
    assert found.layers.keys() >= right.keys()
    for stage, vectors in right.items():
        close = {"rtol": 1e-9, "atol": 1e-9, "msg": lambda m, s=stage: f"{s}: {m}"}
        assert_close(found.layers[stage][:, 0], vectors, **close)


def watched(model: Encoder, text: Tensor) -> dict[str, Tensor]:
    """Return the model's own tensors by stage, [L, B, T, D]."""
    seen: dict[str, list[Tensor]] = {stage: [] for stage in INNER}

    def keep(entered: str, left: str):
        def hook(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
            for stage, value in ((entered, args[0]), (left, out)):
                if stage:
                    seen[stage].append(value.detach())

        return hook

    for block in model.blocks:
        block.norm1.register_forward_hook(keep("res1", "ln1"))
        block.down.register_forward_hook(keep("", "ffn"))
        block.norm2.register_forward_hook(keep("res2", "encoder"))
        block.attention.register_forward_hook(keep("", "attention"))
    model(text)
    return {stage: torch.stack(values) for stage, values in seen.items()}


@given(seeds, st.integers(1, 3), lengths, complete_rules, activations, value_biases)
def test_vectors_sum_to_the_models_own_tensors(
    seed, size, length, rule, activation, value_bias
):
    model, text = made(Encoder, seed=seed), ids(seed, size, length)
    explainer = DecompX(
        model, rule, activation, value_bias, stages=STAGES, vectors=True
    )
    found = explainer(text, "all")
    right = watched(model, text)
    own = model.blocks[0].attention
    late = [block.attention for block in model.blocks[1:]]
    left_out = [
        own.out.bias + own.out.weight @ own.value.bias * (value_bias != "follow")
    ]
    left_out += [each.out.bias + each.out.weight @ each.value.bias for each in late]
    right["attention"] -= torch.stack(left_out).detach()[:, None, None]
    for stage, tensor in right.items():
        assert_close(found.layers[stage].sum(3), tensor, rtol=0, atol=1e-10)
    assert torch.equal(found.aggregated, found.layers["encoder"][-1])
    assert_close(found.pooler.sum(1), right["encoder"][-1][:, 0], rtol=0, atol=1e-10)
    assert_close(found.scores.sum(1), found.output, rtol=0, atol=1e-10)
    assert torch.equal(found.output, model(text).detach())


def test_vectors_sum_to_hidden_states_of_hugging_face_models():
    for name in ("Bert", "Electra", "RoFormer", "ViT", "MegatronBert"):
        model, inputs = tiny(name), batch(name)
        explainer = DecompX(model, "absdot", stages="encoder", vectors=True)
        found = explainer(inputs, "all")
        own = model(**inputs, output_hidden_states=True)
        states = torch.stack(own.hidden_states[1:]).detach()
        sums = found.layers["encoder"].sum(3)
        if name in {"ViT", "MegatronBert"}:  # the last state is behind one more norm
            sums, states = sums[:-1], states[:-1]
        if found.attended is not None:
            sums, states = sums[:, found.attended], states[:, found.attended]
        assert_close(sums, states, rtol=0, atol=1e-11)
        assert_close(found.scores.sum(1), own.logits.detach(), rtol=0, atol=1e-11)


def test_without_biases_attributions_do_not_sum_to_the_logits():
    for path in ((), ("pooler",)):
        found = DecompX(tiny("Bert"), "none", stages=path)(batch(), "all")
        assert (found.scores.sum(1) - found.output).abs().min() > 1e-3


@given(seeds, st.integers(2, 4), lengths, rules, activations, st.booleans())
def test_a_batch_is_its_examples_in_any_order(
    seed, size, length, rule, activation, stages
):
    inputs = padded(seed, size, length)
    model = made(Encoder, seed=seed)
    kept = ("encoder", "pooler") if stages else ()
    explainer = DecompX(model, rule, activation, stages=kept, vectors=True)
    together = explainer(inputs, "all")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    turned = explainer(rows(inputs, order), "all")
    assert_close(turned.scores, together.scores[order], rtol=0, atol=1e-12)
    assert_close(turned.output, together.output[order], rtol=0, atol=1e-12)
    for row in range(size):
        one = rows(inputs, slice(row, row + 1))
        n = int(one["attention_mask"].sum())
        alone = explainer(rows(one, (slice(None), slice(n))), "all")
        columns = [*range(n), *range(length, together.scores.shape[1])]
        assert_close(together.scores[row, columns], alone.scores[0], rtol=0, atol=1e-12)
        assert (together.scores[row, n:length] == 0).all()
        if stages:
            vectors = together.layers["encoder"][:, row, :n][:, :, columns]
            assert_close(vectors, alone.layers["encoder"][:, 0], rtol=0, atol=1e-11)
            assert (together.layers["encoder"][:, row, n:] == 0).all()
            assert (together.layers["encoder"][:, row, :, n:length] == 0).all()
            assert_close(together.pooler[row, columns], alone.pooler[0])


@given(seeds, rules, activations, st.integers(1, 8), st.booleans())
def test_chunks_change_nothing(seed, rule, activation, chunk, stages):
    model, inputs = made(Encoder, seed=seed), padded(seed, 2, 6)
    options = {"activation": activation, "stages": STAGES if stages else "pooler"}
    whole = DecompX(model, rule, **options, vectors=True)(inputs, "all")
    parts = DecompX(model, rule, **options, vectors=True, chunk=chunk)(inputs, "all")
    assert_close(parts.scores, whole.scores, rtol=0, atol=1e-12)
    assert_close(parts.pooler, whole.pooler, rtol=0, atol=1e-12)
    assert parts.layers.keys() == whole.layers.keys()
    for stage, vectors in whole.layers.items():
        assert_close(parts.layers[stage], vectors, rtol=0, atol=1e-12)


@pytest.mark.parametrize("vectors", [1, 13, 24])
def test_mixing_some_sources_at_a_time_changes_nothing(monkeypatch, vectors):
    model, inputs = made(Encoder), padded(0, 2, 6)
    whole = DecompX(model, "absdot", stages="encoder", vectors=True)(inputs, "all")
    monkeypatch.setattr("lrp_hooks.explainers.decompx.mixing.CHUNK", vectors)
    parts = DecompX(model, "absdot", stages="encoder", vectors=True)(inputs, "all")
    assert_close(parts.scores, whole.scores, rtol=0, atol=1e-12)
    assert_close(parts.layers["encoder"], whole.layers["encoder"], rtol=0, atol=1e-12)


def test_what_is_kept_does_not_change_attributions():
    for rule in ("absdot", "token"):
        plain = DecompX(tiny("Bert"), rule, stages="pooler")(batch(), "all")
        for stage in STAGES:
            found = DecompX(tiny("Bert"), rule, stages=stage)(batch(), "all")
            assert_close(found.scores, plain.scores, rtol=0, atol=1e-13)
            kept = {**found.layers, "aggregated": found.aggregated}
            kept["pooler"] = found.pooler
            assert [name for name, table in kept.items() if table is not None] == [
                stage
            ]


def state(model: nn.Module) -> list[object]:
    hooks = [
        len(table)
        for module in model.modules()
        for name, table in vars(module).items()
        if name.endswith("_hooks")
    ]
    flags = [module.training for module in model.modules()]
    trained = [
        (p.requires_grad, p.grad is None, p._version) for p in model.parameters()
    ]
    return [hooks, flags, trained, [sorted(vars(m)) for m in model.modules()]]


def test_the_model_is_left_as_it_was():
    model, inputs = fresh("Bert"), batch()
    model.bert.encoder.layer[0].register_forward_hook(lambda *_: None)
    parameters = list(model.parameters())
    parameters[3].requires_grad_(False)
    model.classifier.train()
    before, plain = state(model), model(**inputs).logits
    for rule in RULES:
        for options in ({}, {"stages": "encoder"}, {"include_ffn": False}):
            for target in ("all", 0):
                DecompX(model, rule, **options)(inputs, target)
    assert state(model) == before
    assert torch.equal(model(**inputs).logits, plain)
    assert torch.is_grad_enabled()


def test_dropout_is_off_and_comes_back():
    model = fresh("Bert").train()
    for rule in ("equal", "absdot"):
        found = DecompX(model, rule)(batch(), "all")
        assert torch.equal(
            found.scores, DecompX(tiny("Bert"), rule)(batch(), "all").scores
        )
    assert all(module.training for module in model.modules())


def test_grad_mode_and_frozen_parameters_do_not_matter():
    frozen = fresh("Bert").requires_grad_(False)
    for rule in ("equal", "absdot", "token"):
        for stages in ((), ("encoder",)):
            right = DecompX(tiny("Bert"), rule, stages=stages)(batch(), "all")
            with torch.no_grad():
                off = DecompX(tiny("Bert"), rule, stages=stages)(batch(), "all")
            still = DecompX(frozen, rule, stages=stages)(batch(), "all")
            for found in (off, still):
                assert torch.equal(found.scores, right.scores)
            for found in (right, off, still):
                tensors = (found.scores, found.output, *found.layers.values())
                assert not any(tensor.requires_grad for tensor in tensors)


def test_an_explainer_serves_calls_of_different_kinds():
    model, inputs = tiny("Bert"), batch()
    embeds = model.bert.embeddings.word_embeddings(inputs["input_ids"]).detach()
    given_embeds = {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"]}
    for rule in ("equal", "absdot"):
        explainer = DecompX(model, rule)
        right = explainer(inputs, "all").scores
        assert torch.equal(explainer(given_embeds, "all").scores, right)
        first = explainer(rows(inputs, slice(1)), "all").scores[0]
        assert_close(first, right[0], rtol=0, atol=1e-13)
        assert torch.equal(explainer(inputs, "all").scores, right)


@pytest.mark.parametrize("rule", ["absdot", "abssim", "norm"])
def test_a_token_that_nothing_attends_to_but_itself_is_its_own(rule):
    model = made(Encoder)
    for block in model.blocks:
        block.attention.value.weight.data.zero_()
        block.attention.value.bias.data.zero_()
    explainer = DecompX(model, rule, stages="encoder")
    norms = explainer(ids(0, 1, 5), 0).layers["encoder"][:, 0]
    others = norms.masked_select(~torch.eye(5, dtype=torch.bool))
    assert (others == 0).all()
    assert (norms.diagonal(dim1=1, dim2=2) > 0).all()


@pytest.mark.parametrize("rule", ["absdot", "abssim", "norm"])
def test_a_bias_that_no_vector_has_a_part_in_is_everyones(rule):
    model = fresh("Bert")
    model.bert.encoder.layer[-1].output.LayerNorm.weight.data.zero_()
    found = DecompX(model, rule)(batch(), "all")
    for row, n in enumerate((6, 4)):
        right = (found.output[row] / n).expand(n, 3)
        assert_close(found.scores[row, :n], right, rtol=1e-9, atol=1e-12)
