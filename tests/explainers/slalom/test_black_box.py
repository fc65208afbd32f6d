"""A function of texts in place of a model, and options of the published fits."""

import warnings

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import ArgumentError, TextError, explain
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import SlalomExplanation, SlalomWarning
from slalom_models import Exact

WORDS = "a gripping , funny film with a weak ending and a weak plot".split()
TEXT = " ".join(WORDS)
KNOWN = sorted(set(WORDS))
VALUES = dict(
    zip(KNOWN, (0.5, 2.0, -1.0, 3.0, 0.1, -2.0, 1.0, 0.3, -0.4), strict=False)
)
WEIGHTS = {word: 1.0 + i for i, word in enumerate(KNOWN)}
VALUES = {word: VALUES.get(word, 0.7) for word in KNOWN}


class Service:
    """A SLALOM of words that is asked by text."""

    def __init__(self, form="list"):
        self.seen, self.form = [], form

    def __call__(self, texts):
        assert isinstance(texts, list)
        self.seen += texts
        odds = []
        for text in texts:
            words = text.split()
            total = sum(WEIGHTS[w] for w in words)
            odds.append(sum(WEIGHTS[w] / total * VALUES[w] for w in words))
        if self.form == "list":
            return odds
        logits = torch.tensor([[0.0, one] for one in odds])
        return logits.numpy() if self.form == "array" else logits


@pytest.mark.parametrize("form", ["list", "array", "tensor"])
def test_a_function_is_explained_by_its_words(form):
    service = Service(form)
    target = None if form == "list" else 1
    found = Slalom(predict=service, n_samples=200)(TEXT, target)
    assert found.tokens == [WORDS]
    wanted = torch.tensor([[VALUES[w] for w in WORDS]])
    assert_close(found.values.float(), wanted, rtol=0, atol=1e-3)
    logs = torch.tensor([WEIGHTS[w] for w in KNOWN]).log()
    centred = {w: float(s - logs.mean()) for w, s in zip(KNOWN, logs, strict=True)}
    wanted = torch.tensor([[centred[w] for w in WORDS]])
    assert_close(found.importances.float(), wanted, rtol=0, atol=1e-2)
    assert service.seen[0] == TEXT
    assert len(service.seen) == found.fit["model_calls"]
    assert set(" ".join(service.seen).split()) == set(WORDS)


def test_several_texts_are_as_each_alone():
    texts = [TEXT, "a weak , weak film"]
    both = Slalom(predict=Service(), n_samples=60)(texts)
    for b, text in enumerate(texts):
        alone = Slalom(predict=Service(), n_samples=60)(text)
        length = len(text.split())
        assert both.tokens[b] == text.split()
        assert_close(both.scores[b, :length], alone.scores[0])
        assert (both.scores[b, length:] == 0).all()


def test_its_surrogate_is_asked_by_texts(tmp_path):
    service = Service()
    found = Slalom(predict=service, n_samples=200)(TEXT)
    found.save(tmp_path / "found.safetensors")
    texts = ["weak and funny", "a gripping plot", "film film film , weak"]
    wanted = torch.tensor(service(texts))
    again = SlalomExplanation.load(tmp_path / "found.safetensors")
    for one in (found, again):
        assert_close(one.surrogate(texts).float(), wanted, rtol=0, atol=1e-2)
    # A word that it has not read weighs nothing, as an id that is not in a text.
    unread = found.surrogate([f"unheard {texts[0]} unseen"])
    assert_close(unread, found.surrogate(texts[:1]))
    several = Slalom(predict=Service(), n_samples=60)([TEXT, "a weak , weak film"])
    told = several.surrogate(["weak film", "weak film"])
    each = [several.surrogate(["weak film"], example=b) for b in range(2)]
    assert_close(told, torch.cat(each))
    with pytest.raises(ArgumentError, match="no token that the surrogate knows"):
        found.surrogate(["unheard"])


@pytest.mark.parametrize("texts", [TEXT, [], [3], None])
def test_what_its_surrogate_is_asked_must_be_texts(texts):
    found = Slalom(predict=Service(), n_samples=40)(TEXT)
    with pytest.raises(ArgumentError, match="must be a list of texts"):
        found.surrogate(texts)
    model = Slalom(Exact(), n_samples=40)(torch.arange(1, 9)[None])
    with pytest.raises(ArgumentError, match=r"must be token ids of the shape \[N, L\]"):
        model.surrogate(texts)


def test_what_is_called_is_one_thing():
    with pytest.raises(ArgumentError, match="neither of model and predict"):
        Slalom()
    with pytest.raises(ArgumentError, match="both of model and predict"):
        Slalom(Exact(), predict=Service())
    with pytest.raises(ArgumentError, match="leave tokenizer out"):
        Slalom(tokenizer=object(), predict=Service())
    with pytest.raises(ArgumentError, match="Pass a module"):
        Slalom(predict=Exact())


@pytest.mark.parametrize("texts", ["", "  ", [], [TEXT, ""], [3]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(TextError, match="each with a word"):
        Slalom(predict=Service())(texts)


def test_what_a_function_must_return_is_said():
    with pytest.raises(ArgumentError, match=r"must return log-odds \[1\]"):
        Slalom(predict=lambda texts: [[[0.0]]])(TEXT)


def test_fixed_importances_are_equal_and_values_the_ridge_regression():
    ids = torch.arange(1, 13)[None]
    for fit, sampling in (
        ("gauss-newton", "mixed"),
        ("sgd", "short"),
        ("als", "short"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Slalom(
                Exact(), sampling=sampling, fit=fit, fix_importances=True, n_samples=200
            )(ids)
        assert (found.importances == 0).all()
        assert found.values.unique().numel() == 12
    model = Exact(spread=0.0)
    found = Slalom(model, fix_importances=True, n_samples=200)(ids, target=1)
    assert_close(found.values[0], model.v.detach()[1:13], rtol=0, atol=1e-5)


def test_rate_and_epochs_reach_the_descent():
    ids = torch.arange(1, 9)[None]

    def values(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Slalom(Exact(), sampling="short", fit="sgd", **options)(ids).values

    default = values()
    assert torch.equal(values(learning_rate=5e-3, epochs=60), default)
    assert not torch.equal(values(epochs=200), default)
    assert not torch.equal(values(learning_rate=5e-2), default)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 3}, "epochs=3 is an option of fit='sgd'"),
        ({"learning_rate": 0.1}, "learning_rate=0.1 is an option of fit='sgd'"),
        ({"fit": "sgd", "epochs": 0}, "epochs=0 must be a whole number above 0"),
        ({"fit": "sgd", "epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"fit": "sgd", "learning_rate": -1.0}, "learning_rate=-1.0 must be a number"),
    ],
)
def test_options_of_no_use_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        Slalom(Exact(), **options)


def test_explain_takes_the_new_options(sentiment):
    model, tokenizer = sentiment
    found = explain(
        model, TEXT, method="slalom", tokenizer=tokenizer, fix_importances=True
    )
    assert found.fit["model_calls"] == 129


def chances(texts):
    """What a classifier behind an interface is most often asked for, [N, 2]."""
    return (
        torch.tensor(Service()(texts))[:, None].mul(torch.tensor([0.0, 1.0])).softmax(1)
    )


@pytest.mark.parametrize("one", [False, True])
def test_probabilities_are_told_from_logits(one):
    predict = (lambda texts: chances(texts)[:, 1]) if one else chances
    with pytest.warns(SlalomWarning, match=r"numbers from 0 to 1.*torch\.log"):
        Slalom(predict=predict, n_samples=60)(TEXT, None if one else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Slalom(predict=lambda texts: chances(texts).log())(TEXT, 1)
        wanted = Slalom(predict=Service())(TEXT)
    assert_close(found.scores, wanted.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "inputs", [{"input_ids": torch.ones(1, 3)}, (TEXT, TEXT), torch.ones(1, 3)]
)
def test_what_is_no_list_of_texts_is_refused(inputs):
    with pytest.raises(TextError, match="no pairs and no token ids"):
        Slalom(predict=Service())(inputs)


@pytest.mark.parametrize("said", [None, ["a"] * 40, object()])
def test_what_is_no_number_is_named(said):
    with pytest.raises(ArgumentError, match="no array of numbers"):
        Slalom(predict=lambda texts: said)(TEXT)


class Changing:
    """Log-odds or logits of other classes from the second call on."""

    def __init__(self, first, later):
        self.columns = iter([first])
        self.later = later

    def __call__(self, texts):
        columns = next(self.columns, self.later)
        odds = torch.tensor(Service()(texts))
        if columns is None:
            return odds
        return torch.stack([odds * c for c in range(columns)], 1)


@pytest.mark.parametrize(
    ("first", "later"), [(None, 2), (2, None), (2, 3), (3, 2), (1, 2)]
)
def test_a_later_answer_has_the_classes_of_the_first(first, later):
    said = r"predict returned the shape \[\d+(, \d)?\], and \[1(, \d)?\] at first"
    explainer = Slalom(predict=Changing(first, later), n_samples=40)
    with pytest.raises(ArgumentError, match=said):
        explainer(TEXT, 0)
    found = explainer(TEXT, 0)  # each explanation has a first answer of its own
    assert found.fit["informative"]


def test_one_column_is_log_odds():
    found = Slalom(predict=Changing(None, None), n_samples=40)(TEXT)
    both = Slalom(predict=lambda texts: [[odds] for odds in Service()(texts)])
    assert_close(found.output, both(TEXT).output)
