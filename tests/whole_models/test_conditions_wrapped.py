"""The conditions real models run in: quantised, adapted, dispatched, in threads."""

import copy
import threading
import warnings

import accelerate
import peft
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from condition_models import COMPLETE, assert_closed, explain, families, scalar
from generation_models import language_model, word_tokenizer
from lrp_hooks import UnruledWarning, explain_generation, instrument
from small_models import encoder, hugging_face
from strategies import noise, tokens


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("rules", COMPLETE)
def test_dynamically_quantised_linears_close_their_ledger(family, rules):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves this to a package of its own
        model = torch.ao.quantization.quantize_dynamic(
            hugging_face(family), {nn.Linear}, dtype=torch.qint8
        )
    ids = tokens(2, 5)
    with torch.no_grad():
        plain = scalar(model(ids))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnruledWarning)
        found = explain(model, ids, rules=rules)
    assert_close(found.output, plain)
    assert (found.ledger.error < 1e-4).all()
    assert any(name.endswith("rounding") for name in found.ledger.sources)


class Int8(nn.Module):
    """Weights of eight bits, activations of thirty-two: torchao's weight-only kind."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (linear.weight.detach() / scale).round().char())
        self.bias = linear.bias

    def forward(self, x):
        weight = self.weight.to(x.dtype) * self.scale
        return nn.functional.linear(x, weight, self.bias)


def replace_linears(module, make):
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, make(child))
        else:
            replace_linears(child, make)
    return module


@pytest.mark.parametrize("rules", COMPLETE)
def test_weights_of_eight_bits(rules):
    model = replace_linears(hugging_face("bert", torch.float64), Int8)
    found = explain(model, tokens(2, 5), rules=rules)
    assert_closed(found)
    assert "classifier.bias" in found.ledger.sources


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses old names
@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("rules", COMPLETE)
def test_lora(family, rules):
    model = hugging_face(family, torch.float64)
    names = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj", "up_proj"]}
    config = peft.LoraConfig(r=2, target_modules=names[family], lora_alpha=8)
    wrapped = peft.get_peft_model(model, config).double().eval()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    inputs = {"input_ids": tokens(2, 5)}
    found = explain(wrapped, inputs, rules=rules)
    assert_closed(found)
    merged = explain(wrapped.merge_and_unload().double(), inputs, rules=rules)
    assert_close(found.values, merged.values)


@families
@pytest.mark.parametrize("offload", [False, True])
def test_a_dispatched_model(family, offload):
    model, ids = hugging_face(family, torch.float64), {"input_ids": tokens(2, 5)}
    plain = explain(model, ids)
    if offload:
        model = accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        model = accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)
    found = explain(model, ids)
    assert_closed(found)
    close = {"rtol": 1e-10, "atol": 1e-10}
    assert_close(found.values, plain.values, **close)
    assert_close(found.ledger.sources, plain.ledger.sources, **close)


@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
@pytest.mark.parametrize("away", ["cpu", "disk"])
def test_a_device_map(away, rules, tmp_path):
    whole = language_model("Llama", attention_bias=True)
    whole.save_pretrained(tmp_path)
    here = {"model.layers.0": "cpu", "model.rotary_emb": "cpu"}
    there = ("model.embed_tokens", "model.layers.1", "model.norm", "lm_head")
    spread = (
        type(whole)
        .from_pretrained(
            tmp_path,
            dtype=torch.float64,
            device_map=here | dict.fromkeys(there, away),
            offload_folder=tmp_path / "away",
        )
        .eval()
    )
    found, right = (explain(m, tokens(2, 5), scalar, rules) for m in (spread, whole))
    assert_closed(found)
    assert_close(found.values, right.values)
    assert_close(found.ledger.sources, right.ledger.sources)
    written = (word_tokenizer(), "the capital of France is")
    rows = [
        explain_generation(m, *written, max_new_tokens=3, rules=rules)
        for m in (spread, whole)
    ]
    assert_close(rows[0].scores, rows[1].scores)
    audits = []
    for model in (spread, whole):
        with instrument(model, rules) as lrp:
            audits.append({r.module: r.leaving for r in lrp.audit(tokens(2, 5)).rows})
    assert audits[0] == pytest.approx(audits[1], rel=1e-9, abs=1e-12)


def test_two_models_in_threads():
    models = [hugging_face("bert", torch.float64), hugging_face("llama", torch.float64)]
    inputs = [{"input_ids": tokens(2, 5, seed)} for seed in range(4)]
    expected = [explain(models[i % 2], batch) for i, batch in enumerate(inputs)]
    found, start = {}, threading.Barrier(4)
    with instrument(models[0]) as first, instrument(models[1]) as second:

        def work(i):
            start.wait()
            for turn in range(5):
                lrp = (first, second)[i % 2]
                found[i, turn] = lrp.attribute(inputs[i], scalar)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 20
    for (i, _), relevance in found.items():
        assert torch.equal(relevance.values, expected[i].values)
        assert torch.equal(relevance.ledger.total, expected[i].ledger.total)


@pytest.mark.parametrize("rules", COMPLETE)
@pytest.mark.parametrize("padded", [False, True])
def test_the_fast_path_of_an_encoder_layer(rules, padded):
    model, x = encoder(dtype=torch.float64), noise(2, 5, 8)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    inputs = {"src": x} | ({"src_key_padding_mask": hidden} if padded else {})
    frozen = copy.deepcopy(model).requires_grad_(False)  # takes the fused kernel

    def first(output):
        return output[:, 0, 1]

    runs = [explain(m, inputs, first, rules) for m in (model, frozen)]
    with torch.no_grad():
        assert_close(runs[1].output, first(frozen(**inputs)))
    for found in runs:
        assert_closed(found)
        assert not padded or (found.scores[hidden] == 0).all()
    assert_close(runs[0].values, runs[1].values)


class VisionTransformer(nn.Module):
    """As torchvision writes it: patches by a convolution, nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 8, 2, 2)
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        self.pos_embedding = nn.Parameter(torch.randn(1, 5, 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(4))
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)
        )
        self.perceptrons = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(), nn.Linear(16, 8))
            for _ in range(2)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = self.pos_embedding + x
        for i in range(2):
            y = self.norms[2 * i](x)
            x = self.attentions[i](y, y, y, need_weights=False)[0] + x
            x = self.perceptrons[i](self.norms[2 * i + 1](x)) + x
        return self.head(x[:, 0])


@pytest.mark.parametrize("rules", COMPLETE)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_image_transformer_of_torch_parts(rules, batch):
    torch.default_generator.manual_seed(0)
    model = VisionTransformer().double().eval()
    found = explain(model, noise(batch, 3, 4, 4), rules=rules)
    assert found.scores.shape == (batch, 4, 4)
    assert (found.ledger.error <= 1e-10).all()
    assert {"class_token", "pos_embedding"} <= set(found.ledger.sources)
