"""Relevance read at the prompt's keys and values: a cut that sums, by an own cut."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from generation_models import SHAPES, language_model, word_tokenizer
from lrp_hooks import ArgumentError, UnsupportedModelError, explain_answer, instrument
from lrp_hooks.answers.cache import prompt_cache

IN_FLOAT32 = {"Gemma", "Gemma2", "GPTJ"}  # in parts, whatever their weights
WITHOUT = {"Mamba"}
PROMPT = "Paris is the capital of France . \n London is a capital . \n London one two ."
ANSWER = " Paris is a . London b c ."


def explained(model, wrt="cache", **options):
    given = {"prompt": PROMPT, "answer": ANSWER, "wrt": wrt, **options}
    return explain_answer(model, word_tokenizer(), **given)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s not in WITHOUT])
@pytest.mark.parametrize("hops", [0, 2])
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
def test_rows_sum_to_what_is_explained(shape, hops, rules):
    model = language_model(shape)
    found = explained(model, hops=hops, rules=rules)
    limit = 1e-6 if shape in IN_FLOAT32 else 1e-10
    assert float(found.ledger.error.max()) < limit
    plain = explained(model, wrt="tokens", rules=rules)
    near = {"rtol": 0, "atol": limit * 10}
    torch.testing.assert_close(found.output, plain.output, **near)
    constants = [
        v for n, v in found.ledger.sources.items() if n not in {"prompt", "answer"}
    ]
    whole = found.token_scores.sum(1) + sum(constants)
    torch.testing.assert_close(whole.to(found.output), found.output, **near)


def keys_of(attention):
    """The last module before keys are turned, which leaves gradient times key alone."""
    return getattr(attention, "k_norm", attention.k_proj)


def cut_by_hand(model, ids, start, rules, target):
    """Cut keys and values of the tokens before a place off, in one whole pass."""
    leaves = []

    def cut(module, args, output):
        leaves.append(output[:, :start].detach().requires_grad_())
        return torch.cat([leaves[-1], output[:, start:]], 1)

    with instrument(model, rules):
        handles = [
            part.register_forward_hook(cut)
            for block in model.model.layers
            for part in (keys_of(block.self_attn), block.self_attn.v_proj)
        ]
        embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
        scalar = target(model(inputs_embeds=embeds, use_cache=False).logits)
        *grads, own = torch.autograd.grad(
            scalar, [*leaves, embeds], allow_unused=True, materialize_grads=True
        )
        for handle in handles:
            handle.remove()
    pairs = zip(leaves, grads, strict=True)
    read = sum((leaf.detach() * grad).flatten(2).sum(2)[0] for leaf, grad in pairs)
    return read, (embeds.detach() * own).sum(2)[0, start:]


@pytest.mark.parametrize("shape", ["Llama", "Qwen3", "Mistral"])
@pytest.mark.parametrize("rules", ["gradient", "conservative", "attnlrp"])
def test_scores_are_those_of_a_cut_by_hand(shape, rules):
    model = language_model(shape)
    found = explained(model, rules=rules, spans="b c", target="logit")
    table = word_tokenizer().get_vocab()
    ids = torch.tensor([[table[token] for token in found.tokens]])
    count = len(ANSWER.split())
    start, end = ids.shape[1] - count - 1, ids.shape[1]

    def target(logits):
        return sum(logits[0, t - 1, ids[0, t]] for t in (end - 3, end - 2))

    read, own = cut_by_hand(model, ids[:, :-1], start, rules, target)
    torch.testing.assert_close(found.token_scores[0], torch.cat([read, own]))


def test_a_prompt_of_one_token_is_read_at_that():
    model = language_model()
    given = {"prompt": "Paris", "sources": "tokens"}
    cut, plain = (explained(model, wrt=w, **given) for w in ("cache", "tokens"))
    assert torch.equal(cut.token_scores, plain.token_scores)
    assert plain.meta["wrt"] == "tokens"


def test_earlier_tokens_of_an_answer_hand_everything_on():
    model = language_model()
    plain, hop = (explained(model, spans="b c", hops=n) for n in (0, 8))
    assert float(plain.ledger.sources["answer"].abs().max()) > 1e-3
    torch.testing.assert_close(hop.output, plain.output)
    assert not torch.equal(hop.scores, plain.scores)


def test_the_prompt_leaves_no_graph():
    model = language_model(num_hidden_layers=4)
    kept = {}
    for wrt in ("tokens", "cache"):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            explained(model, wrt, rules="conservative", answer=" c")
        kept[wrt] = sum(sizes)
    assert kept["cache"] < kept["tokens"] / 2


def test_other_threads_run_the_model_as_it_is():
    model, ids = language_model(), torch.tensor([[8, 7, 2, 3]])
    with torch.no_grad():
        plain = model(ids).logits
    kept = prompt_cache(model, ids)
    with kept.lent(model), ThreadPoolExecutor(1) as pool, torch.no_grad():
        there = pool.submit(model, ids).result().logits.detach()
        here = model(ids, attention_mask=torch.ones(1, 8)).logits
    assert torch.equal(there, plain)
    assert not torch.allclose(here, plain)


def test_a_wrapper_that_passes_all_on_is_asked():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **given):
            return self.inner(**given)

    model, ids = language_model(), torch.tensor([[8, 7, 2, 3]])
    found, direct = prompt_cache(Wrapped(model), ids), prompt_cache(model, ids)
    for one, two in zip(found.leaves, direct.leaves, strict=True):
        assert torch.equal(one, two)


def test_the_model_is_left_as_it_was():
    model = language_model().train()
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    explained(model)
    assert model.training
    assert not model._forward_pre_hooks
    assert before == {n: p.requires_grad for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrt": "keys"}, "wrt='keys' must be 'tokens' or 'cache'"),
        ({"method": "ablation"}, "method='ablation' has none"),
        ({"low_memory": True}, "Leave low_memory= out"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        explained(language_model(), **options)


def test_a_model_without_keys_is_refused():
    with pytest.raises(UnsupportedModelError, match="Use wrt='tokens'"):
        explained(language_model("Mamba"))


def test_a_model_with_states_beside_its_keys_is_refused():
    sizes = {"d_ssm": 16, "n_heads": 2, "d_head": 8, "d_state": 4, "n_groups": 1}
    model = language_model("FalconH1", **{f"mamba_{k}": v for k, v in sizes.items()})
    assert explained(model, "tokens").scores.shape == (2, 3)
    with pytest.raises(UnsupportedModelError, match="states of whole prompts"):
        explained(model)
