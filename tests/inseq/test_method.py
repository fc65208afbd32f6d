"""inseq's method "lrp": the numbers of explain_generation, through inseq's registry."""

import subprocess
import sys
import warnings

import pytest
import torch
import transformers

from generation_models import WORDS, language_model, word_tokenizer
from lrp_hooks import ArgumentError, LrpHooksWarning, explain_generation

PROMPT, CONTINUATION = "the capital of France is", " Paris ."


@pytest.fixture(scope="module")
def inseq():
    found = pytest.importorskip("inseq")
    pytest.importorskip("lrp_hooks.inseq")
    return found


def attributed(inseq, model, tokenizer, texts, **how):
    options = {"attributed_fn": "logit", "show_progress": False, **how.pop("more", {})}
    loaded = inseq.load_model(model, "lrp", tokenizer=tokenizer, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LrpHooksWarning)
        return loaded.attribute(*texts, **options).sequence_attributions[0]


def decoder():
    model = language_model("GPT2", torch.float32)
    tokenizer = word_tokenizer()
    tokenizer.pad_token = WORDS[0]
    return model, tokenizer


def test_it_is_listed_once_it_is_imported(inseq):
    assert "lrp" in inseq.list_feature_attribution_methods()


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "cp-lrp"])
def test_a_decoder(inseq, rules):
    model, tokenizer = decoder()
    texts = (PROMPT, PROMPT + CONTINUATION)
    found = attributed(inseq, model, tokenizer, texts, rules=rules)
    scores = found.target_attributions.sum(-1).T.nan_to_num()
    wanted = explain_generation(
        model, tokenizer, PROMPT, continuation=CONTINUATION, rules=rules
    )
    assert torch.allclose(scores, wanted.scores, atol=1e-5)


def test_an_encoder_decoder(inseq):
    sizes = {"d_model": 12, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    ends = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=len(WORDS), **sizes, **ends)
    model = transformers.T5ForConditionalGeneration(config).eval()
    tokenizer = word_tokenizer()
    tokenizer.pad_token = WORDS[0]
    more = {"attribute_target": True}
    texts = (PROMPT, CONTINUATION)
    found = attributed(inseq, model, tokenizer, texts, more=more)
    source = found.source_attributions.sum(-1).T  # [generated, encoder]
    wanted = explain_generation(model, tokenizer, PROMPT, continuation=CONTINUATION)
    rows = len(wanted.output)
    read = wanted.scores[:, : wanted.encoder]
    assert torch.allclose(source[:rows, : read.shape[1]], read, atol=1e-5)


def test_a_probability_is_told(inseq):
    model, tokenizer = decoder()
    loaded = inseq.load_model(model, "lrp", tokenizer=tokenizer)
    with pytest.warns(LrpHooksWarning, match="attributed_fn='probability'.*'logit'"):
        loaded.attribute(PROMPT, f"{PROMPT} Paris", show_progress=False)


def test_the_model_is_left_as_it_was(inseq):
    model, tokenizer = decoder()
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    attributed(inseq, model, tokenizer, (PROMPT, f"{PROMPT} Paris"))
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks


def test_unknown_rules_are_refused(inseq):
    model, tokenizer = decoder()
    with pytest.raises(ArgumentError, match="'nosuch'"):
        inseq.load_model(model, "lrp", tokenizer=tokenizer, rules="nosuch")


def test_without_inseq_the_message_says_how_to_get_it():
    code = "import sys; sys.modules['inseq'] = None\nimport lrp_hooks.inseq"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "lrp_hooks[inseq]"' in done.stderr
