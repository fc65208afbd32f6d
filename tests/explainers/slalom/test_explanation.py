"""What comes back: scores, files, words, pictures."""

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import ArgumentError, Explanation, explain
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import SlalomExplanation
from shared_models import sentiment
from slalom_models import Exact

TEXTS = ["an unforgettable, gripping film", "dull and unfunny, with a weak ending"]


@pytest.fixture(scope="module")
def both():
    model, tokenizer = sentiment()
    return explain(
        model, TEXTS, method="slalom", tokenizer=tokenizer, target=1, n_samples=90
    )


def test_scores_are_what_they_are_called():
    model, ids = Exact(seed=8), torch.tensor([[3, 8, 8, 21, 55]])
    by_name = {
        name: Slalom(model, score=name)(ids, target=1)
        for name in ("product", "value", "importance", "removal")
    }
    found = by_name["value"]
    assert torch.equal(found.scores, found.values)
    assert torch.equal(by_name["importance"].scores, found.importances)
    product = found.values * found.importances.exp()
    assert_close(by_name["product"].scores, product)
    for t in range(5):
        left = torch.cat([ids[:, :t], ids[:, t + 1 :]], 1)
        effect = model.log_odds(ids) - model.log_odds(left)
        assert_close(
            by_name["removal"].scores[:, t], effect.detach(), rtol=0, atol=1e-4
        )
    assert all(torch.equal(e.values, found.values) for e in by_name.values())


def test_a_file_gives_everything_back(both, tmp_path):
    path = tmp_path / "e.safetensors"
    both.save(path)
    again = Explanation.load(path)
    assert type(again) is SlalomExplanation
    for name in ("scores", "values", "importances", "output"):
        assert torch.equal(getattr(again, name), getattr(both, name))
    assert again.verdicts == both.verdicts
    assert again.fit.keys() == both.fit.keys()
    ids = both.surrogates[0].ids[None]
    assert torch.equal(again.surrogate(ids, 0), both.surrogate(ids, 0))


def test_several_examples_have_entries_each(both):
    for entry in both.fit.values():
        assert entry.shape == (2,)
    assert len(both.verdicts) == len(both.surrogates) == 2


def test_words_weigh_what_their_tokens_weigh_together(both):
    words = both.words()
    assert words.values.shape == words.importances.shape == words.scores.shape
    tokens = both.tokens[0]
    parts = [t for t, token in enumerate(tokens) if token.startswith("##")]
    assert parts, tokens
    last = max(parts)
    first = next(t for t in range(last, -1, -1) if not tokens[t].startswith("##"))
    name = tokens[first] + "".join(t[2:] for t in tokens[first + 1 : last + 1])
    place = next(w for w, word in enumerate(words.tokens[0]) if name in word)
    after = words.tokens[0][place].removeprefix(name)  # a comma is no word
    span = slice(first, last + 1 + len(after))
    weight = both.importances[0, span].double().exp()
    value = (weight * both.values[0, span]).sum() / weight.sum()
    assert_close(words.values[0, place].double(), value, rtol=1e-4, atol=1e-4)
    assert_close(
        words.importances[0, place].double(), weight.sum().log(), rtol=1e-4, atol=1e-4
    )
    product = words.values[0, place] * words.importances[0, place].exp()
    assert_close(words.scores[0, place], product, rtol=1e-3, atol=1e-3)
    assert words.values.isfinite().all()


SPLIT = ["a weak unbelievability, a weak unbelievability", "a gripping film"]
SPANS = [
    [(0, 1), (1, 2), (2, 3), (3, 7), (7, 8), (8, 9), (9, 12), (12, 13)],
    [(t, t + 1) for t in range(5)],
]
"""The tokens of each word of SPLIT: one has several, and the second is padded."""
SILENT = {"fit": "sgd", "sampling": "short", "learning_rate": 0.03, "epochs": 200}
"""A fit in which special tokens weigh nothing."""


def merged(one, ids, spans, score):
    """What the surrogate says of each word, copy by copy."""
    columns = torch.stack([one.values, one.importances], 1)
    table = dict(zip(one.ids.tolist(), columns, strict=True))
    for start, stop in spans:
        known = [table[i] for i in ids[start:stop] if i in table]
        if not known:
            yield 0.0
            continue
        weight = sum(s.exp() for _, s in known)
        if score == "product":
            yield float(sum(v * s.exp() for v, s in known))
        elif score == "value":
            yield float(sum(v * s.exp() for v, s in known) / weight)
        elif score == "importance":
            yield float(weight.log())
        else:
            left = [*ids[:start], *ids[stop:]]
            yield float(one(torch.tensor([ids])) - one(torch.tensor([left])))


@pytest.mark.parametrize("options", [{}, SILENT], ids=["weighing", "silent"])
@pytest.mark.parametrize("score", ["product", "value", "importance", "removal"])
def test_a_words_score_is_that_of_its_tokens_together(tmp_path, score, options):
    model, tokenizer = sentiment()
    found = explain(model, SPLIT, "slalom", tokenizer, score=score, **options)
    assert bool(found.fit["informative"].all())
    found.save(tmp_path / "found.safetensors")
    again = Explanation.load(tmp_path / "found.safetensors")
    words = found.words()
    for b, (text, spans) in enumerate(zip(SPLIT, SPANS, strict=True)):
        one, ids = found.surrogates[b], tokenizer(text)["input_ids"]
        assert spans[-1][1] == len(ids)
        wanted = torch.zeros(words.scores.shape[1])
        wanted[: len(spans)] = torch.tensor(list(merged(one, ids, spans, score)))
        assert_close(words.scores[b], wanted, rtol=1e-4, atol=1e-4)
    if score in {"value", "importance"}:
        assert torch.equal(words.scores, getattr(words, f"{score}s"))
    assert torch.equal(again.words().scores, words.scores)
    assert_close(words.words().scores, words.scores)


def test_nothing_is_left_without_the_only_word():
    model, tokenizer = sentiment()
    options = {"score": "removal", **SILENT}
    found = explain(model, "unwatchability!", "slalom", tokenizer, **options)
    assert found.scores.abs().max() > 0.1
    assert found.words().scores.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("score", ["value", "importance", "removal"])
@pytest.mark.filterwarnings("ignore::lrp_hooks.explainers.slalom.SlalomWarning")
def test_words_of_no_informative_surrogate_have_no_scores_either(score):
    model, tokenizer = sentiment()
    options = {"fit": "sgd", "sampling": "short", "score": score}
    found = explain(model, SPLIT, "slalom", tokenizer, **options)
    assert not bool(found.fit["informative"].any())
    assert (found.scores == 0).all()
    assert (found.words().scores == 0).all()


def test_pages_and_terminals_show_it(both):
    assert "gripping" in both.to_html()
    shown = both.to_terminal(colour=False)
    assert all(verdict in shown for verdict in both.verdicts)


def test_the_scatter_has_a_point_for_each_distinct_token(both):
    drawn = both.scatter(1)
    (axes,) = drawn.axes
    ordinary = [t for t in both.tokens[1] if t not in {"[CLS]", "[SEP]", "[PAD]"}]
    named = [note.get_text() for note in axes.texts]
    assert sorted(named) == sorted(set(ordinary))
    offsets = torch.tensor(axes.collections[0].get_offsets().tolist())
    place = both.tokens[1].index("dull")
    at = offsets[named.index("dull")]
    wanted = torch.stack([both.values[1, place], both.importances[1, place]])
    assert_close(at, wanted, rtol=1e-5, atol=1e-5)
    assert axes.get_xlabel() == "value"
    assert axes.get_ylabel() == "importance"


def test_the_scatter_names_positions_where_tokens_are_unknown():
    mask = torch.tensor([[1, 1, 1, 0]])
    batch = {"input_ids": torch.tensor([[3, 8, 21, 0]]), "attention_mask": mask}
    (axes,) = Slalom(Exact())(batch, target=1).scatter().axes
    assert [note.get_text() for note in axes.texts] == ["0", "1", "2"]


def test_whose_surrogate_is_meant_must_be_clear(both):
    ids = both.surrogates[0].ids[None]
    with pytest.raises(ArgumentError, match="example="):
        both.surrogate(ids)
    for call in (lambda: both.surrogate(ids, 2), lambda: both.scatter(-1)):
        with pytest.raises(ArgumentError, match="none of the 2 examples"):
            call()
