"""Scores of sources: what they sum to, and what independent ways say of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generation_models import SHAPES, WORDS, language_model, word_tokenizer
from lrp_hooks import TextError, explain_answer, instrument
from lrp_hooks.answers.targets import log_probability

IN_FLOAT32 = {"Gemma", "Gemma2", "GPTJ", "Mamba"}  # in parts, whatever their weights
PROMPT = "Paris is the capital of France . \n London is a capital . \n London one two ."
ANSWER = " Paris is a . London b c ."


def explained(model, **options):
    return explain_answer(model, word_tokenizer(), PROMPT, ANSWER, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", ["log_probability", "logit"])
@pytest.mark.parametrize("hops", [0, 2])
def test_rows_sum_to_what_is_explained(shape, target, hops):
    found = explained(language_model(shape), target=target, hops=hops)
    assert found.scores.shape == (2, 3)
    limit = 1e-6 if shape in IN_FLOAT32 else 1e-10
    assert float(found.ledger.error.max()) < limit
    constants = [
        v for n, v in found.ledger.sources.items() if n not in {"prompt", "answer"}
    ]
    whole = found.token_scores.sum(1) + sum(constants)
    torch.testing.assert_close(
        whole.to(found.output), found.output, rtol=0, atol=limit * 10
    )


def logits_before(model, ids, count):
    with torch.no_grad():
        return model(input_ids=ids[:, :-1]).logits[0, -count:]


def ids_of(found):
    table = word_tokenizer().get_vocab()
    return torch.tensor([[table[token] for token in found.tokens]])


@pytest.mark.parametrize("rules", ["attnlrp", "conservative", "gradient"])
def test_token_scores_are_those_of_attribute(rules):
    model = language_model()
    found = explained(model, rules=rules, spans="all")
    ids = ids_of(found)
    count = len(ANSWER.split())
    frozen = logits_before(model, ids, count).softmax(1)
    targets = ids[0, -count:]

    def log_probability(output):
        logits = output.logits[:, -count:]
        chosen = logits.gather(2, targets.view(1, -1, 1)).squeeze(2)
        return (chosen - (frozen * logits).sum(2)).sum(1)

    with instrument(model, rules) as lrp:
        direct = lrp.attribute({"input_ids": ids[:, :-1]}, target=log_probability)
    torch.testing.assert_close(found.token_scores, direct.scores)
    torch.testing.assert_close(found.output, direct.output)


def test_gradient_rules_give_the_gradient_of_the_log_probability():
    model = language_model("GPT2")
    found = explained(model, rules="gradient", spans="b c")
    ids = ids_of(found)
    embeds = model.get_input_embeddings()(ids[:, :-1]).detach().requires_grad_()
    logs = model(inputs_embeds=embeds).logits[0].log_softmax(1)
    end = ids.shape[1]
    picked = sum(logs[t - 1, ids[0, t]] for t in (end - 3, end - 2))
    (grad,) = torch.autograd.grad(picked, embeds)
    torch.testing.assert_close(found.token_scores[0], (embeds * grad).sum(-1)[0])


def test_a_sure_token_keeps_its_digits():
    model = language_model(dtype=torch.float32)
    model.lm_head.weight.data *= 200  # all but one probability underflow
    single = explained(model, spans="tokens")
    double = explained(model.double(), spans="tokens")
    gap = (single.output.double() - double.output).abs()
    assert float(gap.max()) <= 1e-4 * float(double.output.abs().max())
    assert float(single.ledger.error.max()) < 1e-5


def test_many_unlikely_tokens_keep_their_digits():
    """A quarter of a million of them, as in Gemma: none is lost among larger ones."""
    words = [*WORDS, *(f"word{n}" for n in range(2**18 - len(WORDS)))]
    model = language_model(dtype=torch.float32, vocab_size=len(words))
    shape = model.lm_head.weight.shape
    model.lm_head.weight.data = 3 * torch.randn(shape) / shape[1] ** 0.5
    tokenizer = word_tokenizer(words)
    found = explain_answer(model, tokenizer, PROMPT, " Paris", spans="all")
    assert float(found.ledger.error.max()) < 5e-6


def test_bands_hold_every_term_and_lose_no_nan():
    logits = torch.linspace(-60, 5, 400)[None, None]
    lead = log_probability(logits, torch.tensor([7]))
    assert sum(lead.parts).item() == pytest.approx(lead.outputs.item(), rel=1e-6)
    logits[0, 0, 3] = torch.nan
    lead = log_probability(logits, torch.tensor([7]))
    assert sum(lead.parts).isnan().all()


def row_of(model, ids, place, rules):
    """Relevance of the token at a place for its log-probability, and the output."""
    frozen = logits_before(model, ids[:, : place + 1], 1)[0].softmax(0)

    def lead(output):
        last = output.logits[:, -1]
        return last[:, int(ids[0, place])] - last @ frozen

    with instrument(model, rules) as lrp:
        row = lrp.attribute({"input_ids": ids[:, :place]}, target=lead)
    return row.scores[0], float(row.output)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_hops_hand_on_what_earlier_tokens_got(hops):
    model, rules = language_model(), "conservative"
    found = explained(model, rules=rules, hops=hops, spans="b c")
    plain = explained(model, rules=rules, spans="b c")
    ids = ids_of(found)
    start, first = ids.shape[1] - 8, ids.shape[1] - 3
    expected = plain.token_scores[0].clone()
    for _ in range(hops):
        sent = {k: float(expected[k]) for k in range(start, first)}
        for k, value in sent.items():
            scores, output = row_of(model, ids, k, rules)
            expected[k] -= value
            expected[:k] += value * scores / output
    torch.testing.assert_close(found.token_scores[0], expected)
    torch.testing.assert_close(found.output, plain.output)


def test_the_first_words_of_an_answer_have_nothing_to_hand_on():
    model = language_model()
    plain, hop = (explained(model, spans="Paris is", hops=n) for n in (0, 3))
    assert torch.equal(plain.scores, hop.scores)
    assert hop.meta["backward_passes"] == 1


def test_spans_add_up_to_the_whole_answer():
    model = language_model("Qwen3")
    whole, each = explained(model, spans="all"), explained(model, spans="tokens")
    torch.testing.assert_close(each.scores.sum(0), whole.scores[0])
    torch.testing.assert_close(each.output.sum(), whole.output[0])


def test_sources_are_sums_of_their_tokens():
    model = language_model()
    fine, coarse = (explained(model, sources=s) for s in ("tokens", "sentences"))
    torch.testing.assert_close(
        fine.scores, fine.token_scores[:, : fine.scores.shape[1]]
    )
    parts = torch.stack([s.sum(1) for s in fine.scores.split([7, 5, 4], 1)], 1)
    torch.testing.assert_close(coarse.scores, parts)


def test_what_is_no_source_stands_in_the_ledger():
    model = language_model()
    whole = explained(model)
    some = explained(model, sources=["London is a capital ."])
    torch.testing.assert_close(some.scores[:, 0], whole.scores[:, 1])
    rest = whole.scores[:, 0] + whole.scores[:, 2]
    torch.testing.assert_close(some.ledger.sources["prompt"], rest)


@pytest.mark.parametrize("shape", ["Llama", "GPT2", "Gemma2"])
@pytest.mark.parametrize("hops", [0, 1])
def test_low_memory_gives_the_same_numbers_and_leaves_the_model(shape, hops):
    model = language_model(shape)
    plain = explained(model, hops=hops)
    low = explained(model, hops=hops, low_memory=True)
    assert torch.equal(plain.token_scores, low.token_scores)
    assert torch.equal(plain.ledger.total, low.ledger.total)
    assert all("forward" not in vars(module) for module in model.modules())


def test_low_memory_keeps_less():
    model = language_model(num_hidden_layers=8)
    kept = []
    for low_memory in (False, True):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            explained(model, low_memory=low_memory)
        kept.append(sum(sizes))
    assert kept[1] < kept[0]


def test_the_model_writes_where_no_answer_is_given():
    model, tokenizer = language_model(), word_tokenizer()
    written = explain_answer(model, tokenizer, PROMPT, max_new_tokens=5)
    ids = ids_of(written)[0, -5:].tolist()
    given = explain_answer(model, tokenizer, PROMPT, ids)
    assert torch.equal(written.scores, given.scores)
    assert written.answer == tokenizer.decode(ids)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), data=st.data())
def test_any_spans_and_sources_conserve(seed, data):
    model, tokenizer = language_model(seed=seed), word_tokenizer()
    words = st.sampled_from("a b c one two three . Paris London".split())
    prompt = " ".join(data.draw(st.lists(words, min_size=2, max_size=12)))
    answer = data.draw(st.lists(words, min_size=1, max_size=6))
    found = explain_answer(
        *(model, tokenizer, prompt, " " + " ".join(answer)),
        sources=data.draw(st.sampled_from(["sentences", "words", "tokens"])),
        spans=data.draw(st.sampled_from(["sentences", "all", "tokens"])),
        hops=data.draw(st.integers(0, 2)),
        target=data.draw(st.sampled_from(["log_probability", "logit"])),
    )
    assert float(found.ledger.error.max()) < 1e-8
    torch.testing.assert_close(found.scores.sum(1), found.ledger.inputs)


def test_special_tokens_alone_are_no_answer():
    model, tokenizer = language_model(), word_tokenizer()
    with torch.no_grad():
        for parameter in model.lm_head.parameters():
            parameter.zero_()  # ties go to the first token, which is special
    with pytest.raises(TextError, match="nothing but '<s> <s>', which is no answer"):
        explain_answer(model, tokenizer, PROMPT, max_new_tokens=2)
