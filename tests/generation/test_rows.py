"""Each row is the relevance of its prefix, however many are explained at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from generation_models import SHAPES, VOCABULARY, language_model, word_tokenizer
from lrp_hooks import (
    Contrast,
    LeafRule,
    NonFiniteError,
    UnruledWarning,
    UnsupportedModelError,
    explain_generation,
    instrument,
)
from lrp_hooks.generation import passes
from lrp_hooks.generation.table import Table

TOKENIZER = word_tokenizer()
PROMPT = "the capital of France is"
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}
# Gemma 2 takes its softmax in float32 whatever the dtype.
LOOSE = {"Gemma2": 1e-5}


def ids_of(explanation):
    return torch.tensor([TOKENIZER.convert_tokens_to_ids(explanation.tokens[0])])


def assert_rows_are_prefixes(model, explanation, rules="conservative", others=None):
    """Verify scores, output and every source against one `attribute` a row."""
    ids, dtype = ids_of(explanation), explanation.scores.dtype
    tolerance = LOOSE.get(type(model).__name__[:6], CLOSE[dtype])
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    with instrument(model, rules) as lrp:
        for t, row in enumerate(explanation.scores):
            n = explanation.prompt + t
            target = int(ids[0, n])
            if others is not None:
                target = Contrast(target, others[t])
            prefix = {"input_ids": ids[:, :n], "attention_mask": torch.ones(1, n)}
            alone = lrp.attribute(prefix, target)
            assert_close(row[:n], alone.scores[0], **close)
            assert (row[n:] == 0).all()
            assert_close(explanation.output[t], alone.output[0], **close)
            ledger = explanation.ledger
            assert set(ledger.sources) == set(alone.ledger.sources)
            for name, value in alone.ledger.sources.items():
                assert_close(ledger.sources[name][t], value[0], **close, msg=name)
            # Where there are as many heads as tokens, a term may be either's.
            for name in alone.ledger.positions.keys() & ledger.positions.keys():
                found, value = ledger.positions[name][t], alone.ledger.positions[name]
                assert_close(found[:n], value[0], **close, msg=name)
                assert (found[n:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape, dtype):
    model = language_model(shape, dtype)
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=5)
    assert found.scores.shape == (5, 10) and found.scores.dtype == dtype
    assert found.meta["chunk"] == 4 and found.meta["backward_passes"] == 2
    assert_rows_are_prefixes(model, found)
    if shape in {"GPT2", "GPTJ", "Qwen2"}:
        added = {n for n in found.ledger.sources if n.endswith(("bias", "wpe.weight"))}
        assert added and added <= found.ledger.positions.keys()


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_and_sources_sum_to_the_plain_models_logits(shape):
    model = language_model(shape)
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3)
    with torch.no_grad():
        logits = model(ids_of(found)).logits[0]
    plain = logits[found.prompt - 1 : -1].gather(1, found.target[:, None])[:, 0]
    assert_close(found.output, plain)
    total = found.scores.sum(1) + sum(found.ledger.sources.values())
    # Some models end in float32 whatever their dtype.
    assert_close(total, plain, rtol=1e-6, atol=1e-6, check_dtype=False)
    assert (logits[found.prompt - 1 : -1].argmax(1) == found.target).all()


@settings(max_examples=8)
@given(
    shape=st.sampled_from(SHAPES),
    rules=st.sampled_from(["conservative", "cp-lrp", "attnlrp", "ah+ln", "gradient"]),
    seed=st.integers(0, 99),
    prompt=st.integers(1, 4),
    count=st.integers(1, 3),
    chunk=st.none() | st.integers(1, 4),
    contrasted=st.booleans(),
)
def test_any_text(shape, rules, seed, prompt, count, chunk, contrasted):
    model = language_model(shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randint(2, 18, (prompt + 2 * count,), generator=generator).tolist()
    words = TOKENIZER.convert_ids_to_tokens(draw[:prompt])
    others = draw[prompt + count :] if contrasted else None
    found = explain_generation(
        model,
        TOKENIZER,
        " ".join(words),
        continuation=draw[prompt : prompt + count],
        contrast=others,
        chunk=chunk,
        rules=rules,
    )
    assert_rows_are_prefixes(model, found, rules, others)


def test_gradient_is_gradient_times_input():
    model = language_model("Qwen2")
    found = explain_generation(
        model, TOKENIZER, PROMPT, max_new_tokens=3, rules="gradient"
    )
    x = model.get_input_embeddings()(ids_of(found)).detach().requires_grad_()
    logits = model(inputs_embeds=x).logits[0]
    for t, target in enumerate(found.target.tolist()):
        logit = logits[found.prompt - 1 + t, target]
        (gradient,) = torch.autograd.grad(logit, x, retain_graph=True)
        assert_close(found.scores[t], (gradient * x)[0].sum(-1).detach())


@pytest.mark.parametrize("shape", ["GPT2", "GPTJ", "Mamba"])
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
def test_together_as_one_by_one(shape, rules):
    model = language_model(shape)
    options = {"max_new_tokens": 5, "rules": rules}
    alone = explain_generation(model, TOKENIZER, PROMPT, chunk=1, **options)
    assert alone.meta["chunk"] == 1 and alone.meta["backward_passes"] == 5
    for chunk in (2, 5, 9):
        found = explain_generation(model, TOKENIZER, PROMPT, chunk=chunk, **options)
        assert found.meta["chunk"] == min(chunk, 5)
        assert_close(found.scores, alone.scores)
        for name, values in alone.ledger.sources.items():
            assert_close(found.ledger.sources[name], values, msg=name)
        for name, values in alone.ledger.positions.items():
            assert_close(found.ledger.positions[name], values, msg=name)


def test_one_forward_pass_and_few_logits():
    model, calls = language_model(), []
    handle = model.register_forward_hook(
        lambda module, args, kwargs, output: calls.append(output.logits.shape),
        with_kwargs=True,
    )
    with handle:
        explain_generation(model, TOKENIZER, PROMPT, continuation=[2, 3, 4])
    assert calls == [(1, 3, VOCABULARY)]


def test_a_rule_is_asked_for_one_gradient_at_a_time():
    shapes = []

    class Passing(LeafRule):
        def relevance(self, module, x, y, grad):
            shapes.append(tuple(grad.shape))
            if bool((grad == 0).all()):  # what vmap does not let anyone ask
                return grad
            self.source("kept", 0.25 * grad * y)
            return grad * 0.75 * y / x

    model = language_model()
    name = "model.layers.1.mlp.act_fn"
    with instrument(model, overrides={name: Passing()}) as lrp:
        ids = torch.tensor([[2, 3, 4, 5, 6]])
        targets = torch.tensor([7, 8, 9])
        inputs = {"input_ids": ids}
        each = Table(3, 3)
        list(passes.relevance_of_each(model, lrp, inputs, targets, None, 3, each))
        each = each.rows()
        assert set(shapes) == {(1, 5, 12)} and len(shapes) == 3
        for t, target in enumerate(targets.tolist()):
            alone = lrp.attribute({"input_ids": ids[:, : 3 + t]}, target)
            assert_close(each.scores[t, : 3 + t], alone.scores[0])
            kept = each.ledger.sources[f"{name}.kept"][t]
            assert_close(kept, alone.ledger.sources[f"{name}.kept"][0])


def test_ids_that_only_the_model_knows_have_their_number_as_a_name():
    model = language_model(vocab_size=30)
    found = explain_generation(
        model, TOKENIZER, PROMPT, continuation=[25, 3], contrast=27
    )
    assert found.generated == ["25", "capital"]
    assert found.targets == ["25 rather than 27", "capital rather than 27"]


class Strange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad if bool(grad.sum() == 0) else grad * 2


def test_what_cannot_be_batched_is_explained_one_by_one():
    model = language_model()
    act = model.model.layers[0].mlp.act_fn
    act.forward = Strange.apply
    with pytest.warns(UserWarning) as caught:
        found = explain_generation(
            model, TOKENIZER, PROMPT, max_new_tokens=3, rules="gradient"
        )
    assert any("chunk=1" in str(w.message) for w in caught)
    assert found.meta["chunk"] == 1 and found.meta["backward_passes"] == 3
    with pytest.warns(UserWarning, match="custom|rule"):
        assert_rows_are_prefixes(model, found, "gradient")


def test_functions_without_a_rule_are_told_of():
    model = language_model()
    model.model.layers[0].mlp.act_fn.forward = Strange.apply
    with pytest.warns(UnruledWarning, match="Strange"):
        explain_generation(model, TOKENIZER, PROMPT, continuation=[3], rules="gradient")


def test_numbers_that_are_not_finite_are_refused():
    model = language_model()
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="layers.0.mlp.up_proj.weight"):
        explain_generation(model, TOKENIZER, PROMPT, continuation=[3])


class Overflowing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.inf


def test_relevance_that_is_not_finite_is_refused():
    model = language_model()
    model.model.layers[0].mlp.act_fn.forward = Overflowing.apply
    with pytest.warns(UnruledWarning), pytest.raises(NonFiniteError, match="relevance"):
        explain_generation(model, TOKENIZER, PROMPT, continuation=[3], rules="gradient")


def test_memory_is_bounded(monkeypatch):
    model = language_model()
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=5)
    widest = 9 * 12 * 8  # tokens, intermediate size, bytes
    assert found.meta["gradient_bytes"] == 4 * widest
    monkeypatch.setattr(passes, "BUDGET", 3 * widest - 1)
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=5)
    assert found.meta["chunk"] == 2 and found.meta["gradient_bytes"] == 2 * widest
    monkeypatch.setattr(passes, "BUDGET", 1)
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=5)
    assert found.meta["chunk"] == 1


def test_a_head_that_is_no_module_call():
    model = language_model("Llama", tie_word_embeddings=True)
    expected = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3)
    head = model.lm_head
    model.get_output_embeddings = lambda: torch.nn.Linear(8, VOCABULARY)
    found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3)
    assert_close(found.scores, expected.scores)
    assert head is model.lm_head


def test_logits_that_do_not_depend_on_the_text():
    class Cut(torch.nn.Module):
        def forward(self, x):
            return x.detach()

    model = language_model()
    model.model.norm = Cut()
    with pytest.warns(UnruledWarning, match="no gradient reaches"):
        found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=2)
    assert (found.scores == 0).all() and found.meta["backward_passes"] == 0
    assert_close(found.ledger.total, found.output)


def test_a_model_that_looks_ahead_is_refused():
    model = language_model()
    model.config.is_decoder = False
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
        forward = layer.self_attn.forward
        layer.self_attn.forward = lambda *a, f=forward, **k: f(
            *a, **{**k, "attention_mask": None}
        )
    with pytest.raises(UnsupportedModelError, match="causal"):
        explain_generation(model, TOKENIZER, PROMPT, continuation=[3, 4])


def test_the_model_is_left_as_it_was():
    model = language_model().train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    hooks = [len(m._forward_pre_hooks) for m in model.modules()]
    with torch.no_grad():
        explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=2)
    assert model.training and all(m.training for m in model.modules())
    assert hooks == [len(m._forward_pre_hooks) for m in model.modules()]
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad and parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert "forward" not in vars(model)


def test_a_graph_that_takes_no_batch_is_explained_token_by_token_and_told():
    model = language_model("Llama")

    def watch(_module, _inputs, hidden):
        # No backward pass of many rows has one number to log here.
        if hidden.requires_grad:
            hidden.register_hook(lambda grad: sizes.append(grad.norm().item()))

    sizes = []
    watched = model.model.norm.register_forward_hook(watch)
    with pytest.warns(UserWarning, match="one by one"):
        found = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3)
    alone = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3, chunk=1)
    watched.remove()
    plain = explain_generation(model, TOKENIZER, PROMPT, max_new_tokens=3)
    assert found.meta["chunk"] == 1 and plain.meta["chunk"] > 1 and sizes
    assert_close(found.scores, alone.scores)
    assert_close(found.scores, plain.scores)
