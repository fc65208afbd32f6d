"""Slalom on models of every form: exact where they are a SLALOM, and harmless."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lrp_hooks import Contrast, explain, instrument
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import SlalomExplanation
from slalom_models import CLS, PAD, SEP, UNK, Exact, centred, special

HEADS = ("two", "three", "one", "flat", "language")
seeds = st.integers(0, 1000)
texts = st.lists(st.integers(0, 80), min_size=2, max_size=30, unique=True)


def assert_recovered(found, model, row=0, places=slice(None), ids=None):
    """Values and importances of distinct tokens are the model's own."""
    assert_close(found.values[row, places], model.v[ids].detach(), rtol=0, atol=1e-3)
    wanted = centred(model.s[ids].detach())
    assert_close(found.importances[row, places], wanted, rtol=0, atol=1e-3)


def tiny_bert(**settings):
    config = BertConfig(
        vocab_size=100,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **settings,
    )
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


@settings(max_examples=15)
@given(texts, seeds, st.sampled_from(HEADS))
def test_a_slalom_is_recovered_by_the_defaults(tokens, seed, head):
    model = Exact(head, seed=seed)
    target = 0 if head in {"one", "flat"} else 1
    ids = torch.tensor([tokens])
    found = Slalom(model)(ids, target=target)
    assert_recovered(found, model, ids=ids[0])
    assert_close(found.output, model.log_odds(ids).detach())
    assert found.fit["r2"] > 0.999


@pytest.mark.parametrize("length", [60, 88])
def test_a_long_slalom_is_recovered_in_single_precision(length):
    model = Exact(seed=1, dtype=torch.float32)
    ids = torch.arange(length)[None]
    assert_recovered(Slalom(model)(ids, target=1), model, ids=ids[0])


@settings(max_examples=10)
@given(st.lists(st.integers(0, 8), min_size=4, max_size=20), seeds)
@pytest.mark.filterwarnings("ignore::lrp_hooks.explainers.slalom.SlalomWarning")
def test_copies_share_their_numbers(tokens, seed):
    model = Exact(seed=seed)
    found = Slalom(model)(torch.tensor([tokens]), target=1)
    kinds = sorted(set(tokens))
    places = [tokens.index(i) for i in kinds]
    for i in kinds:
        same = [t for t, token in enumerate(tokens) if token == i]
        assert found.values[0, same].unique().numel() == 1
    if len(kinds) > 1:
        assert_recovered(found, model, places=places, ids=torch.tensor(kinds))


@pytest.mark.parametrize("silent", [(CLS, SEP), ()])
def test_special_tokens_may_weigh_or_not(silent):
    model = Exact(silent=silent, seed=3)
    ids = torch.tensor([[CLS, 4, 9, 2, 30, 17, SEP]])
    found = Slalom(model, special(CLS, SEP))(ids, target=1)
    assert_recovered(found, model, places=slice(1, -1), ids=ids[0, 1:-1])
    assert all(row[0] == CLS and row[-1] == SEP for row in model.seen)
    outside = found.importances[0, [0, -1]]
    if silent:
        assert outside.tolist() == [0, 0]
    else:  # together they weigh what they weigh in the model
        own = model.s[[CLS, SEP]].logsumexp(0) - model.s[ids[0, 1:-1]].mean()
        assert_close(outside.logsumexp(0), own.detach(), rtol=0, atol=1e-3)
    new = torch.tensor([[CLS, 9, 9, 30, SEP], [CLS, 17, 4, 2, SEP]])
    assert_close(found.surrogate(new), model.log_odds(new).detach(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("head", ["two", "language"])
def test_padding_changes_nothing_and_gets_nothing(side, head):
    model = Exact(head, seed=5)
    short = [7, 3, 11, 20]
    fill = [PAD] * 3
    row = fill + short if side == "left" else short + fill
    long = [1, 2, 3, 4, 5, 6, 8]
    mask = torch.tensor([[int(i != PAD) for i in row], [1] * 7])
    batch = {"input_ids": torch.tensor([row, long]), "attention_mask": mask}
    found = Slalom(model)(batch, target=1)
    alone = Slalom(model)(torch.tensor([short]), target=1)
    kept = mask[0].bool()
    for name in ("scores", "values", "importances"):
        assert_close(getattr(found, name)[0, kept], getattr(alone, name)[0])
        assert (getattr(found, name)[0, ~kept] == 0).all()
    assert torch.equal(found.attended, mask.bool())
    assert all(PAD not in shown for shown in model.seen)
    assert_close(found.output, model.log_odds(**batch_of(batch)).detach())


def batch_of(batch):
    return {"ids": batch["input_ids"], "mask": batch["attention_mask"]}


def test_a_tokenizer_tells_padding_where_there_is_no_mask():
    model = Exact(seed=5)
    found = Slalom(model, special(CLS, SEP))(
        torch.tensor([[PAD, 7, 3, 11], [7, 3, 11, PAD], [7, PAD, 3, 11]]), target=1
    )
    assert found.attended.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert_close(found.values[0, 1:], found.values[1, :-1])


def test_examples_are_as_one_by_one():
    model = Exact(seed=2)
    rows = torch.tensor([[1, 5, 9, 30], [2, 5, 8, 40]])
    both = Slalom(model)(rows, target=[1, 0])
    for b, target in enumerate([1, 0]):
        one = Slalom(model)(rows[b : b + 1], target=target)
        assert torch.equal(both.scores[b], one.scores[0])
        assert both.fit["heldout_error"][b] == one.fit["heldout_error"]
        new = torch.tensor([[5, 9], [8, 5]])[b : b + 1]
        known = [both.surrogate(new, example=b), one.surrogate(new)]
        assert_close(known[0], known[1])
    turned = both.surrogate(rows.flip(1))
    assert_close(turned, both.output, rtol=0, atol=1e-3)


def test_a_contrast_and_a_function_are_explained_as_they_are():
    model = Exact("three", seed=4)
    ids = torch.tensor([[3, 8, 21, 55]])
    by_contrast = Slalom(model)(ids, target=Contrast(1, 0))
    by_function = Slalom(model)(
        ids, target=lambda output: output.logits[:, 1] - output.logits[:, 0]
    )
    logits = model(ids).logits[0].detach()
    assert_close(by_contrast.output[0], logits[1] - logits[0])
    assert_close(by_function.scores, by_contrast.scores)


def test_log_odds_are_those_of_the_arg_max_against_all_others():
    model = Exact("three", seed=4)
    ids = torch.tensor([[3, 8, 21, 55]])
    found = Slalom(model)(ids)
    probabilities = model(ids).logits[0].detach().softmax(0)
    best = probabilities.argmax()
    assert found.target.tolist() == [int(best)]
    odds = probabilities[best] / (1 - probabilities[best])
    assert_close(found.output[0], odds.log())


def test_token_types_go_with_their_tokens():
    class Typed(nn.Module):
        def forward(self, input_ids, token_type_ids=None, attention_mask=None):
            assert token_type_ids.shape == attention_mask.shape == input_ids.shape
            assert attention_mask.all()
            assert torch.equal(token_type_ids, (input_ids >= 10).long())
            odds = input_ids.double().mean(1)
            return torch.stack([-odds, odds], 1)

    ids = torch.tensor([[1, 2, 3, 10, 11, 12], [1, 2, 10, 11, 0, 0]])
    batch = {
        "input_ids": ids,
        "token_type_ids": (ids >= 10).long(),
        "attention_mask": (ids > 0).long(),
    }
    found = Slalom(Typed())(batch, target=1)
    assert_close(found.values[0], 2 * ids[0].double().float(), rtol=0, atol=1e-3)


def test_positions_close_up():
    class Placed(nn.Module):
        def forward(self, input_ids, position_ids, flag="no"):
            wanted = torch.arange(input_ids.shape[1]).expand_as(input_ids)
            assert torch.equal(position_ids, wanted)
            assert flag == "yes"
            return input_ids.double().mean(1)[:, None]

    ids = torch.arange(5)[None]
    found = Slalom(Placed())({
        "input_ids": ids,
        "position_ids": ids.clone(),
        "flag": "yes",
    })
    assert found.fit["r2"] > 0.99


def test_positional_inputs_with_a_mask():
    model = Exact(seed=5)
    ids = torch.tensor([[7, 3, 11, PAD]])
    found = Slalom(model)((ids, (ids != PAD).long()), target=1)
    assert found.attended.tolist() == [[True, True, True, False]]
    assert_recovered(found, model, places=slice(0, 3), ids=ids[0, :3])


@pytest.mark.parametrize(
    "build",
    [
        lambda: tiny_bert(num_labels=2),
        lambda: tiny_bert(num_labels=1),
        lambda: tiny_bert(num_labels=4),
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2, n_positions=32)
        ),
        lambda: nn.Sequential(nn.Embedding(100, 4), nn.Flatten(0, 0), Pool()),
    ],
    ids=["bert", "one output", "four classes", "gpt2", "plain module"],
)
def test_models_of_all_kinds(build):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = build().eval()
    ids = torch.tensor([[CLS, 5, 9, 9, 30, 41, SEP]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Slalom(model, special(CLS, SEP), n_samples=40)(ids)
    assert found.scores.shape == found.values.shape == (1, 7)
    assert found.scores.isfinite().all()
    output = model(ids)
    logits = output if isinstance(output, torch.Tensor) else output.logits
    logits = logits[0] if logits.dim() == 2 else logits[0, -1]
    rest = torch.cat([logits[: found.target], logits[found.target + 1 :]])
    wanted = logits[found.target[0]] - (rest.logsumexp(0) if len(rest) else 0)
    assert_close(found.output[0], wanted.detach(), rtol=1e-4, atol=1e-4)


class Pool(nn.Module):
    """Averages over tokens."""

    def forward(self, x):
        return x.mean(1)


def test_an_encoder_decoder_keeps_its_decoder_inputs():
    config = T5Config(
        vocab_size=100, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = T5ForConditionalGeneration(config).eval()
    batch = {
        "input_ids": torch.tensor([[5, 9, 30]]),
        "decoder_input_ids": torch.tensor([[0, 4, 7]]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Slalom(model, n_samples=12)(batch, target=3)
    logits = model(**batch).logits[0, -1].detach()
    rest = torch.cat([logits[:3], logits[4:]])
    assert_close(found.output[0], logits[3] - rest.logsumexp(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_samples", [None, 11, 40])
@pytest.mark.parametrize("sampling", ["mixed", "short", "deletion"])
def test_every_sequence_is_counted(sampling, n_samples):
    model = Exact(seed=6)
    ids = torch.arange(10)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Slalom(model, sampling=sampling, n_samples=n_samples)(ids, target=1)
    assert found.fit["model_calls"] == len(model.seen)
    assert len(set(model.seen)) == len(model.seen)
    if n_samples is not None:
        assert len(model.seen) <= n_samples + 2


def test_sequences_are_shown_in_batches_of_one_length():
    calls = []

    class Watched(Exact):
        def forward(self, input_ids, attention_mask=None):
            calls.append(tuple(input_ids.shape))
            return super().forward(input_ids, attention_mask)

    Slalom(Watched(seed=1), n_samples=120)(torch.arange(30)[None], target=1)
    assert len(calls) <= 2 + 10 + 1  # whole, short, ten numbers of deletions
    assert max(n for n, _ in calls) > 10


def test_nothing_is_printed_off_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr("lrp_hooks.explainers.slalom.probe.BAR_DELAY", 0.0)
    Slalom(Exact())(torch.arange(12)[None], target=1)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Slalom(Exact())(torch.arange(12)[None], target=1)
    assert "/128" in capfd.readouterr().err


def test_one_seed_one_answer_and_no_global_randomness(sentiment):
    model, tokenizer = sentiment
    batch = tokenizer("a gripping, funny film", return_tensors="pt")
    before = torch.random.get_rng_state()
    one, again, other = (
        Slalom(model, tokenizer, n_samples=60, seed=seed)(batch) for seed in (0, 0, 1)
    )
    assert torch.equal(one.scores, again.scores)
    assert one.fit == again.fit
    assert not torch.equal(one.scores, other.scores)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.default_generator.manual_seed(123)
    moved = Slalom(model, tokenizer, n_samples=60)(batch)
    torch.random.set_rng_state(before)
    assert torch.equal(moved.scores, one.scores)


def test_the_model_is_left_as_it_was():
    model = tiny_bert(num_labels=2).train()
    model.bert.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    flags = {n: m.training for n, m in model.named_modules()}
    state = {n: t.clone() for n, t in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (
            Slalom(model, n_samples=30)(torch.tensor([[5, 9, 30, 41]])) for _ in "ab"
        )
    assert torch.equal(first.values, second.values)  # no dropout
    assert {n: m.training for n, m in model.named_modules()} == flags
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert all((p.grad == 1).all() and p.requires_grad for p in model.parameters())
    assert not any(t.requires_grad for t in (first.scores, first.output))


def test_flags_come_back_after_an_error():
    class Broken(Exact):
        def forward(self, input_ids, attention_mask=None):
            if len(input_ids) > 1:
                raise RuntimeError("out of order")
            return super().forward(input_ids)

    model = Broken().train()
    with pytest.raises(RuntimeError, match="out of order"):
        Slalom(model)(torch.arange(6)[None], target=1)
    assert model.training


def test_instrumented_models_give_the_same(sentiment):
    model, tokenizer = sentiment
    batch = tokenizer("a gripping, funny film", return_tensors="pt")
    plain = Slalom(model, tokenizer, n_samples=60)(batch)
    with instrument(model):
        inside = Slalom(model, tokenizer, n_samples=60)(batch)
    assert torch.equal(plain.scores, inside.scores)
    with torch.inference_mode():
        inferred = Slalom(model, tokenizer, n_samples=60)(batch)
    assert_close(inferred.scores, plain.scores, rtol=1e-3, atol=1e-3)


def test_explain_passes_the_tokenizer_on(sentiment):
    model, tokenizer = sentiment
    text = "an unforgettable, gripping film with a weak ending"
    found = explain(model, text, method="slalom", tokenizer=tokenizer)
    assert type(found) is SlalomExplanation
    assert found.method == "slalom"
    assert found.tokens[0][0] == "[CLS]"
    assert found.targets == ["positive"]
    logits = model(**tokenizer(text, return_tensors="pt")).logits[0].detach()
    assert_close(found.output[0], logits[1] - logits[0], rtol=1e-4, atol=1e-4)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert abs(found.surrogate(ids)[0] - found.output[0]) < 1
    words = dict(zip(found.tokens[0], found.scores[0], strict=False))
    assert words["weak"] < 0 < words["gripping"]


def test_half_precision_is_fitted_in_double():
    model = Exact(seed=1, dtype=torch.bfloat16)
    found = Slalom(model)(torch.arange(6)[None], target=1)
    assert found.scores.dtype == torch.float32
    assert found.fit["r2"] > 0.95


def test_unknown_words_are_words():
    model = Exact(seed=1)
    ids = torch.tensor([[CLS, UNK, 4, 7, 9, SEP]])
    found = Slalom(model, special(CLS, SEP))(ids, target=1)
    assert_recovered(found, model, places=slice(1, -1), ids=ids[0, 1:-1])
