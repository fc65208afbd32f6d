"""Every class and metric of Captum that takes an attribution method takes ours."""

import tempfile

import pytest
import torch
from captum.attr import (
    ClassSummarizer,
    LLMGradientAttribution,
    Mean,
    NoiseTunnel,
    TextTokenInput,
)
from captum.concept import TCAV, Classifier, Concept
from captum.metrics import infidelity, sensitivity_max
from torch import nn
from torch.testing import assert_close

from captum_models import classifier, writer
from lrp_hooks import Contrast, instrument
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance, NeuronRelevance
from strategies import noise

X = noise(3, 6)


def _noisy(n, stdev):
    """Draw what NoiseTunnel draws from the same seed."""
    torch.default_generator.manual_seed(0)
    drawn = torch.normal(0, torch.full((len(X) * n, 6), stdev))
    return X.repeat_interleave(n, 0) + drawn.double()


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel(kind):
    method, n = ConservativeRelevance(classifier()), 4
    target = [0, 1, 2]
    torch.default_generator.manual_seed(0)
    found, delta = NoiseTunnel(method).attribute(
        X, kind, n, stdevs=0.1, target=target, return_convergence_delta=True
    )
    expanded = [t for t in target for _ in range(n)]
    each, deltas = method.attribute(_noisy(n, 0.1), expanded, None, True)
    each = each.view(3, n, 6)
    want = {
        "smoothgrad": each.mean(1),
        "smoothgrad_sq": each.pow(2).mean(1),
        "vargrad": each.var(1, unbiased=False),
    }
    assert_close(found, want[kind])
    assert delta.shape == (3 * n,)
    assert_close(delta, deltas)


def test_noise_tunnel_in_parts_on_tuples_and_contrasts():
    method = ConservativeRelevance(classifier())
    options = {"nt_samples": 5, "nt_samples_batch_size": 2, "stdevs": 0.0}
    found = NoiseTunnel(method).attribute((X,), target=Contrast(0, 1), **options)
    assert isinstance(found, tuple)
    assert_close(found[0], method.attribute(X, Contrast(0, 1)))


def test_noise_tunnel_on_layers_and_neurons():
    model = classifier()
    layer = LayerRelevance(model, model[1])
    found = NoiseTunnel(layer).attribute(X, nt_samples=2, stdevs=0.0, target=1)
    assert_close(found, layer.attribute(X, 1))
    neuron = NeuronRelevance(model, model[1])
    found = NoiseTunnel(neuron).attribute(
        X, nt_samples=2, stdevs=0.0, neuron_selector=2
    )
    assert_close(found, neuron.attribute(X, 2))


def test_infidelity_is_zero_where_the_model_is_linear():
    def perturb(x):
        change = torch.randn_like(x)
        return change, x - change

    # Infidelity wants the gradient; on a linear model relevance is x times it.
    model, ones = nn.Linear(6, 2).double(), torch.ones_like(X)
    found = ConservativeRelevance(model).attribute(ones, 1)
    score = infidelity(model, perturb, ones, found, target=1)
    assert score.shape == (3,) and score.abs().max() < 1e-20
    worse = infidelity(model, perturb, ones, 2 * found, target=1)
    assert worse.min() > 1e-6


def test_sensitivity():
    model = nn.Linear(6, 2).double()
    method = ConservativeRelevance(model)

    def shift(inputs, radius):
        return inputs + radius

    found = sensitivity_max(method.attribute, X, shift, perturb_radius=0.5, target=1)
    # Relevance x * w changes by 0.5 * w.
    weight = model.weight[1].detach()
    want = (0.5 * weight).norm() / (X * weight).norm(dim=1)
    assert_close(found, want)


class _Fixed(Classifier):
    """A classifier of concepts whose weights are known."""

    def __init__(self):
        pass

    def train_and_eval(self, dataloader, **kwargs):
        return {"accs": torch.tensor(1.0)}

    def weights(self):
        return torch.tensor([[1.0] * 8, [-1.0] * 8])

    def classes(self):
        return [0, 1]


def _concepts(model, method):
    torch.default_generator.manual_seed(0)
    loaders = [torch.utils.data.DataLoader(torch.randn(4, 6)) for _ in range(2)]
    concepts = [Concept(i, str(i), loader) for i, loader in enumerate(loaders)]
    options = {"classifier": _Fixed(), "layer_attr_method": method}
    with tempfile.TemporaryDirectory() as folder:
        tool = TCAV(model, ["2"], save_path=folder, **options)
        return tool.interpret(X.float(), [concepts], target=1)["0-1"]["2"]


def test_concept_activation_vectors():
    model = classifier(dtype=torch.float32)
    found = _concepts(model, LayerRelevance(model, None, multiply_by_inputs=False))
    plain = _concepts(model, None)
    with instrument(model):
        inside = _concepts(model, None)
    grads = LayerRelevance(model, model[2], multiply_by_inputs=False)
    along = grads.attribute(X.float(), 1).sum(1)
    assert_close(found["magnitude"], inside["magnitude"])
    assert not torch.allclose(found["magnitude"], plain["magnitude"])
    assert_close(found["magnitude"], torch.stack([along.mean(), -along.mean()]))
    assert_close(found["sign_count"][0], (along > 0).float().mean())


def test_class_summaries():
    found = ConservativeRelevance(classifier()).attribute(X, 1)
    summary = ClassSummarizer([Mean()])
    summary.update(found, [0, 1, 1])
    assert_close(summary.summary[0]["mean"], found.mean(0))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_captums_own_class_for_language_models(family):
    model, tokenizer = writer(family)
    method = LayerRelevance(model, model.get_input_embeddings())
    inp = TextTokenInput("the cat sat on", tokenizer)
    found = LLMGradientAttribution(method, tokenizer).attribute(inp, "a mat")
    assert method.forward_func is model  # Captum swapped its copy's
    # It explains log p, whose relevance is that of the logits, times (1 - p) or -p.
    ids = torch.cat([inp.inp_tensor, torch.tensor([[5]])], 1)
    for row, prefix, token in ((0, inp.inp_tensor, 5), (1, ids, 6)):
        weights = -model(prefix).logits[0, -1].softmax(0).detach()
        weights[token] += 1
        with instrument(model) as lrp:
            each = [one.scores[0] for one in lrp.attribute_each({"input_ids": prefix})]
        want = (weights[:, None] * torch.stack(each)).sum(0)[:4]
        assert_close(found.token_attr[row], want)
