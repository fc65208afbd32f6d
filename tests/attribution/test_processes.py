"""Instrumentations, rule sets and Captum's classes do their work in other processes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import joblib
import pytest
import torch
from lrp_hooks.rules.linear import Gamma

from generation_models import language_model, word_tokenizer
from lrp_hooks import RuleSet, instrument
from lrp_hooks.captum import LayerRelevance, LLMRelevance
from small_models import hugging_face
from travel import ids, relevance, scores


@pytest.fixture
def lrp():
    rules = RuleSet.named("attnlrp").override(linear=Gamma(0.25))
    with instrument(hugging_face("bert", torch.float64), rules) as lrp:
        yield lrp


def test_spawned_processes(lrp):
    words = hugging_face("bert", torch.float64)
    method = LayerRelevance(words, words.get_input_embeddings())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        far = pool.submit(scores, lrp, ids())
        other = pool.submit(relevance, method, ids())
        assert torch.equal(far.result(), scores(lrp, ids()))
        assert torch.equal(other.result(), relevance(method, ids()))


def test_joblib(lrp):
    batches = [ids(), ids().flip(1)]
    run = joblib.Parallel(n_jobs=2)
    found = run(joblib.delayed(scores)(lrp, batch) for batch in batches)
    for far, batch in zip(found, batches, strict=True):
        assert torch.equal(far, scores(lrp, batch))


def test_closures(lrp):
    def explained(row):  # as `datasets.map` is given it
        return {"scores": lrp.attribute(row, 1).scores}

    landed = cloudpickle.loads(cloudpickle.dumps(explained))
    assert torch.equal(landed(ids())["scores"], explained(ids())["scores"])


def test_relevance_of_language_models():
    from captum.attr import TextTokenInput  # noqa: PLC0415  # takes seconds

    method = LLMRelevance(language_model(), tokenizer := word_tokenizer())
    with method.attr_method.active():
        landed = cloudpickle.loads(cloudpickle.dumps(method))
    prompt = TextTokenInput("the capital of", tokenizer)
    found, right = (m.attribute(prompt, "Paris").token_attr for m in (landed, method))
    assert torch.equal(found, right)
