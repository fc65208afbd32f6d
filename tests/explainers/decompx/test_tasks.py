"""DecompX of spans, labels of tokens, masked tokens and bare vectors.

The oracle runs the encoder by hand on vectors of one source at a time: attention, the
scale of LayerNorm and the slopes f(x) / x are those of the whole input.
"""

import math

import pytest
import torch
import transformers
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import explain
from lrp_hooks.explainers import DecompX
from oracles import randomised
from strategies import reseed

CONFIG = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
}
IDS = torch.tensor([[1, 7, 4, 9, 12, 2]])
TOKENS = IDS.shape[1]
HEADS = ("QuestionAnswering", "TokenClassification", "MaskedLM")


def bert(task):
    reseed(0)
    config = transformers.BertConfig(**CONFIG, num_labels=3)
    if task == "Model":
        return randomised(transformers.BertModel(config, add_pooling_layer=False))
    config.num_labels = 2 if task == "QuestionAnswering" else 3
    return randomised(getattr(transformers, f"BertFor{task}")(config))


class ByHand:
    """Vectors z[i, k] of sources k, token by token, through an encoder.

    Biases are added where the model adds them: to nobody, or by |b . z[i, k]|.
    """

    def __init__(self, model, rule):
        self.model, self.rule = model.double().eval(), rule
        body = getattr(model, "bert", model)
        self.x = body.embeddings(IDS)[0].detach()
        self.z = torch.zeros(TOKENS, TOKENS, 16).double()
        for i in range(TOKENS):
            self.z[i, i] = self.x[i]
        for layer in body.encoder.layer:
            self.go_through(layer)

    def biased(self, z, bias):
        if self.rule == "none":
            return z
        weights = (z @ bias).abs()
        return z + (weights / weights.sum(1, keepdim=True))[..., None] * bias

    def linear(self, z, layer):
        return self.biased(z @ layer.weight.T, layer.bias)

    def activated(self, z, x):
        gelu = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return z * (gelu / x)[:, None]

    def normed(self, z, x, norm):
        scale = norm.weight / (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        return self.biased((z - z.mean(-1, keepdim=True)) * scale[:, None], norm.bias)

    def go_through(self, layer):
        inner, out = layer.attention.self, layer.attention.output

        def heads(dense):
            return dense(self.x).view(TOKENS, 2, 8).transpose(0, 1)

        p = (heads(inner.query) @ heads(inner.key).mT / math.sqrt(8)).softmax(-1)
        values = self.linear(self.z, inner.value).view(TOKENS, TOKENS, 2, 8)
        mixed = torch.einsum("hij,jkhd->ikhd", p, values).flatten(2)
        true = torch.einsum("hij,hjd->ihd", p, heads(inner.value)).flatten(1)
        z, x = self.z + self.linear(mixed, out.dense), self.x + out.dense(true)
        z, x = self.normed(z, x, out.LayerNorm), out.LayerNorm(x)
        up, down = layer.intermediate.dense, layer.output.dense
        inside = self.activated(self.linear(z, up), up(x))
        z, x = z + self.linear(inside, down), x + down(F.gelu(up(x)))
        norm = layer.output.LayerNorm
        self.z, self.x = self.normed(z, x, norm), norm(x)

    def logits(self):
        """Return vectors of all logits, [T, K, C]."""
        model = self.model
        if hasattr(model, "qa_outputs"):
            return self.linear(self.z, model.qa_outputs)
        if hasattr(model, "classifier"):
            return self.linear(self.z, model.classifier)
        head = model.cls.predictions
        dense, norm = head.transform.dense, head.transform.LayerNorm
        inside = self.activated(self.linear(self.z, dense), dense(self.x))
        true = F.gelu(dense(self.x))
        return self.linear(self.normed(inside, true, norm), head.decoder)


def start(output):
    return output.start_logits[:, 2]


TARGETS = {
    "QuestionAnswering": {
        start: lambda z: z[2, :, 0],
        (2, 4): lambda z: z[2, :, 0] + z[4, :, 1],
    },
    "TokenClassification": {(3, 1): lambda z: z[3, :, 1]},
    "MaskedLM": {(4, 11): lambda z: z[4, :, 11]},
}
CASES = [(task, target) for task, own in TARGETS.items() for target in own]


@pytest.mark.parametrize("rule", ["none", "absdot"])
@pytest.mark.parametrize(("task", "target"), CASES)
def test_a_places_logit_is_decomposed(task, target, rule):
    model = bert(task).double().eval()
    found = explain(
        model, {"input_ids": IDS}, "decompx", target=target,
        bias=rule, value_bias="distribute",
    )  # fmt: skip
    right = TARGETS[task][target](ByHand(model, rule).logits().detach())
    assert_close(found.scores[0], right, rtol=1e-9, atol=1e-10)
    if rule == "absdot":
        assert_close(found.scores.sum(1), found.output)


@pytest.mark.parametrize("rule", ["none", "absdot"])
@pytest.mark.parametrize("task", ["Model", *HEADS])
def test_vectors_after_the_last_block(task, rule):
    model = bert(task).double().eval()
    found = DecompX(
        model, bias=rule, value_bias="distribute", include_classifier=False,
        stages=("aggregated",), vectors=True,
    )({"input_ids": IDS})  # fmt: skip
    assert_close(
        found.aggregated[0], ByHand(model, rule).z.detach(), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("bias", ["equal", "first", "token"])
@pytest.mark.parametrize(("task", "target"), CASES)
def test_everything_sums_to_the_logit(task, target, bias):
    model = bert(task).double().eval()
    found = explain(model, {"input_ids": IDS}, "decompx", target=target, bias=bias)
    assert_close(found.scores.sum(1), found.output)


def test_vectors_of_a_bare_encoder_sum_to_its_hidden_states():
    model = bert("Model").double().eval()
    found = DecompX(
        model, include_classifier=False, stages=("encoder",), vectors=True
    )({"input_ids": IDS})  # fmt: skip
    states = model(IDS, output_hidden_states=True).hidden_states[1:]
    for layer, state in zip(found.layers["encoder"], states, strict=True):
        assert_close(layer.sum(2), state.detach())


def taken(vectors):
    return vectors.norm(dim=-1)


def test_without_a_head_the_mean_token_is_taken():
    model = bert("Model").double().eval()
    options = {"bias": "none", "value_bias": "distribute", "include_classifier": False}
    found = DecompX(model, **options)({"input_ids": IDS})
    vectors = ByHand(model, "none").z.detach()
    assert_close(found.scores[0], taken(vectors.mean(0)))
    padded = torch.cat([IDS, torch.zeros_like(IDS[:, :2])], 1)
    batch = {"input_ids": padded, "attention_mask": (padded != 0).long()}
    found = DecompX(model, **options)(batch)
    assert_close(found.scores[0, :TOKENS], taken(vectors.mean(0)))
    assert (found.scores[0, TOKENS:] == 0).all()


def test_a_pooler_takes_the_first_token():
    reseed(0)
    config = transformers.BertConfig(**CONFIG)
    model = randomised(transformers.BertModel(config)).double().eval()
    options = {"bias": "none", "value_bias": "distribute", "include_classifier": False}
    found = DecompX(model, **options)({"input_ids": IDS})
    assert_close(found.scores[0], taken(ByHand(model, "none").z.detach()[0]))
