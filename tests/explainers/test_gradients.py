"""Plain gradients at the embeddings: against autograd by hand, padded and not."""

import itertools
import math
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_hooks import (
    ArgumentError,
    Contrast,
    ConvergenceWarning,
    InferenceModeError,
    Relevance,
    TargetError,
    TextError,
    explain,
)
from lrp_hooks.explainers import (
    GradientXInput,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)
from shared_models import sentiment
from small_models import convolution, hugging_face
from strategies import Spec, build, noise, padded, tokens

METHODS = (Saliency, IntegratedGradients, SmoothGrad)
POSITIONLESS = Spec(bias=False)


def by_hand(model, ids, target, mask=None):
    """Return embeddings, and the gradient of a logit for them."""
    x = model.get_input_embeddings()(ids).detach().requires_grad_()
    out = model(inputs_embeds=x, attention_mask=mask)
    (grad,) = torch.autograd.grad(out[:, target].sum(), x)
    return x.detach(), grad


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_saliency_is_the_norm_of_the_gradient(seed, trainable):
    model, ids = build(seed=seed).requires_grad_(trainable), tokens(3, 5, seed)
    _, grad = by_hand(model, ids, 1)
    for norm, expected in {
        "l2": grad.norm(dim=-1),
        "l1": grad.abs().sum(-1),
        "sum": grad.sum(-1),
    }.items():
        found = Saliency(model, norm=norm)(ids, target=1)
        assert_close(found.scores, expected)
    assert found.target.tolist() == [1, 1, 1]
    assert found.attended is None
    assert found.meta["read"] == ["embedding"]
    assert_close(found.output, model(ids)[:, 1])


def test_the_default_norm_is_l2():
    model, ids = build(), tokens(2, 5)
    assert_close(Saliency(model)(ids).scores, Saliency(model, norm="l2")(ids).scores)


def test_gradient_x_input_reads_at_the_same_place():
    model, ids = build(), tokens(2, 5)
    x, grad = by_hand(model, ids, 2)
    assert_close(GradientXInput(model)(ids, target=2).scores, (x * grad).sum(-1))
    assert_close(Saliency(model, norm="sum")(ids, target=2).scores, grad.sum(-1))


@pytest.mark.parametrize("baseline", ["zero", "tensor", "id", "pad"])
def test_integrated_gradients_add_up(baseline):
    model, ids = build(Spec(parts=("mlp", "fused"), norms=("none",) * 2)), tokens(2, 5)
    x = model.embedding(ids).detach()
    vector = noise(8, seed=3)
    given, start = {
        "zero": ("zero", torch.zeros_like(x)),
        "tensor": (vector, vector.expand_as(x)),
        "id": (4, model.embedding(torch.full_like(ids, 4)).detach()),
        "pad": ("pad", model.embedding(torch.full_like(ids, 2)).detach()),
    }[baseline]
    model.config = type("Config", (), {"pad_token_id": 2})()
    found = IntegratedGradients(model, baseline=given, n_steps=100)(ids, target=1)
    away = model(ids)[:, 1] - model(inputs_embeds=start)[:, 1]
    assert_close(found.scores.sum(1), away, rtol=0, atol=1e-6)
    delta = torch.tensor(found.meta["convergence_delta"], dtype=torch.float64)
    assert_close(found.scores.sum(1) - away, delta, rtol=0, atol=1e-7)


def test_integrated_gradients_are_the_integral():
    model, ids = build(Spec(norms=("layer",) * 7)), tokens(1, 4)
    x = model.embedding(ids).detach()
    start = x + noise(1, 4, 8, seed=1)
    total, steps = torch.zeros_like(x), 400
    for i in range(steps):
        at = (start + (i + 0.5) / steps * (x - start)).requires_grad_()
        total += torch.autograd.grad(model(inputs_embeds=at)[0, 0], at)[0] / steps
    expected = (total * (x - start)).sum(-1)
    found = IntegratedGradients(model, baseline=start, n_steps=200)(ids, target=0)
    assert_close(found.scores, expected, rtol=1e-3, atol=1e-4)


def test_few_steps_report_their_error():
    model, ids = build(), tokens(2, 5)
    few = IntegratedGradients(model, n_steps=1)(ids, target=1)
    away = model(ids)[:, 1] - model(inputs_embeds=torch.zeros(2, 5, 8).double())[:, 1]
    delta = torch.tensor(few.meta["convergence_delta"], dtype=torch.float64)
    assert delta.abs().min() > 1e-3
    assert_close(few.scores.sum(1) - away, delta, rtol=0, atol=1e-6)


class Steep(nn.Module):
    """tanh of a sum that passes 0 halfway: a step that few points do not see."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.tanh(self.slope * (x.sum(1, keepdim=True) - 1.5))


def test_a_large_error_is_warned_of_and_shown():
    x = torch.tensor([[1.0, 2.0, 0.1]]).double()
    with pytest.warns(ConvergenceWarning, match=r"sum to .* n_steps=10 .*n_steps=80"):
        found = IntegratedGradients(Steep(5000.0), n_steps=10)(x)
    (delta,) = found.meta["convergence_delta"]
    change = Steep(5000.0)(x) - Steep(5000.0)(x * 0)
    assert float(found.scores.sum() - change) == pytest.approx(delta)
    assert abs(delta) > 0.1
    shown = f"{delta:+.1e}"
    assert f"delta   {shown}" in found.to_terminal(colour=False).splitlines()
    assert f"convergence delta</span> {shown}" in found.to_html()
    (title, *_) = [axes.get_title(loc="left") for axes in found.plot().axes]
    assert title.endswith(f"convergence delta {shown}")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("slope", [0.0, 1e-9, 0.1, 2.0])
def test_a_small_error_is_not_warned_of(slope):
    x = torch.tensor([[1.0, 2.0, 0.1], [1.5, 0.0, 0.0], [-7.0, 7.0, 0.0]])
    IntegratedGradients(Steep(slope))(x)
    # From tanh(-3) to tanh(-3): terms of some size cancel to nothing.
    IntegratedGradients(Steep(2.0))(torch.tensor([[5.0, -5.0, 0.0]]), target=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("baseline", ["zero", "mask", "pad"])
def test_a_trained_classifier_raises_no_alarm(baseline):
    model, tokenizer = sentiment()
    texts = ["a gripping film with a weak ending", "bad", "not good . not bad . fine"]
    explain(model, texts, "integrated_gradients", tokenizer, baseline=baseline)


def test_special_tokens_stay_in_a_baseline_of_tokens():
    model, tokenizer = sentiment()
    found = explain(
        model, "a dull film", "integrated_gradients", tokenizer, baseline="mask"
    )
    assert found.scores[0, [0, -1]].tolist() == [0, 0]
    assert found.scores[0, 1:-1].abs().min() > 0
    everything = explain(model, "a dull film", "integrated_gradients", tokenizer)
    assert everything.scores[0, [0, -1]].abs().min() > 0


def test_without_noise_smooth_grad_is_saliency():
    model, ids = build(), tokens(2, 5)
    found = SmoothGrad(model, stdev=0, n_samples=2)(ids, target=1)
    assert_close(found.scores, Saliency(model)(ids, target=1).scores)


def test_smooth_grad_averages_over_noise():
    model, ids = build(Spec(parts=("mlp",), norms=("none",))), tokens(1, 4)
    x = model.embedding(ids).detach()
    spread = 0.1 * (x.max() - x.min())
    copies = x + spread * noise(4000, 4, 8, seed=9)
    copies.requires_grad_()
    (grads,) = torch.autograd.grad(model(inputs_embeds=copies)[:, 1].sum(), copies)
    expected = grads.mean(0, keepdim=True).norm(dim=-1)
    found = SmoothGrad(model, stdev=0.1, n_samples=4000, batch_size=500)(ids, target=1)
    assert_close(found.scores, expected, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("as_mapping", [True, False])
def test_a_batch_is_its_examples_one_by_one(method, left, as_mapping):
    model = build(POSITIONLESS)
    rows = [tokens(1, n, seed=n)[0] for n in (4, 7, 4, 1)]
    batch = padded(rows, left)
    given = batch if as_mapping else tuple(batch.values())
    found = method(model)(given, target=1)
    kept = batch["attention_mask"].bool()
    assert torch.equal(found.attended, kept)
    assert not found.scores[~kept].any()
    for row, own in enumerate(rows):
        alone = method(model)(own[None], target=1)
        assert_close(found.scores[row][kept[row]], alone.scores[0], atol=1e-6, rtol=0)
        assert_close(found.output[row], alone.output[0])


def test_padding_that_is_attended_all_the_same_scores_nothing():
    model = build(POSITIONLESS)
    batch = padded([tokens(1, 4)[0], tokens(1, 7)[0]], left=True)

    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids)

    for method in METHODS:
        found = method(Deaf())(batch, target=1)
        assert not found.scores[~found.attended].any()
        assert found.scores[found.attended].abs().min() > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_hugging_face_models(method, family):
    model = hugging_face(family)
    batch = padded([tokens(1, 5)[0], tokens(1, 7)[0]], left=False)
    found = method(model)(batch)
    assert found.scores.shape == (2, 7)
    assert found.scores.isfinite().all()
    assert not found.scores[~found.attended].any()
    logits = model(**batch).logits
    if logits.ndim == 3:  # the last attended position
        logits = logits[[0, 1], [4, 6]]
    assert_close(found.output, logits.amax(1))
    assert torch.equal(found.target, logits.argmax(1))


@pytest.mark.parametrize("method", METHODS)
def test_images_vectors_and_embeddings(method):
    images = noise(2, 2, 4, 4, dtype=torch.float32)
    assert method(convolution())(images, target=1).scores.shape == (2, 4, 4)
    vectors = method(nn.Linear(5, 3))(torch.randn(2, 5), target=1)
    assert vectors.scores.shape == (2, 5)
    model, ids = build(), tokens(2, 5)
    x = model.embedding(ids).detach()
    found = method(model)({"inputs_embeds": x}, target=1)
    assert_close(found.scores, method(model)(ids, target=1).scores)


def test_a_linear_model_has_its_weights_as_gradients():
    model, x = nn.Linear(4, 3).double(), noise(2, 4)
    weights = model.weight[1].detach().expand(2, 4)
    assert_close(Saliency(model)(x, target=1).scores, weights.abs())
    assert_close(Saliency(model, norm="sum")(x, target=1).scores, weights)
    assert_close(SmoothGrad(model, norm="sum")(x, target=1).scores, weights)
    assert_close(IntegratedGradients(model)(x, target=1).scores, weights * x)


def test_two_inputs_are_scored_by_name():
    class Two(nn.Module):
        def forward(self, a, b):
            return (a * b).sum(1, keepdim=True)

    a, b = noise(2, 3), noise(2, 3, seed=1)
    for method in (Saliency, SmoothGrad):
        found = method(Two(), norm="sum")((a, b))
        assert set(found.scores) == {"a", "b"}
    assert_close(Saliency(Two(), norm="sum")((a, b)).scores, {"a": b, "b": a})


def test_wrt_names_where_gradients_are_taken():
    model, ids = hugging_face("bert", torch.float64), tokens(2, 5)
    inputs = {"input_ids": ids, "token_type_ids": ids % 2}
    kinds = ("word_embeddings", "token_type_embeddings")
    names = [f"bert.embeddings.{kind}" for kind in kinds]
    for method in METHODS[:2]:
        found = method(model, wrt=names)(inputs, target=1)
        assert list(found.scores) == found.meta["read"] == names
    found = Saliency(model, wrt=names)(inputs, target=1)
    for name in (*names, "bert.encoder.layer.0"):
        alone = Saliency(model, wrt=name)(inputs, target=1)
        assert alone.meta["read"] == [name]
        assert_close(alone.scores, found.scores.get(name, alone.scores))
    with pytest.raises(ArgumentError, match="another module of wrt= behind it"):
        Saliency(model, wrt=[names[0], "bert.encoder.layer.0"])(inputs)


def test_each_target():
    model, ids = build(), tokens(2, 5)
    one, two = (Saliency(model, norm="sum")(ids, target=t).scores for t in (0, 2))
    contrast = Saliency(model, norm="sum")(ids, target=Contrast(0, [2, 2]))
    assert_close(contrast.scores, one - two)
    mixed = Saliency(model, norm="sum")(ids, target=[0, 2])
    assert_close(mixed.scores, torch.stack([one[0], two[1]]))
    function = Saliency(model, norm="sum")(ids, target=lambda out: out[:, 0])
    assert_close(function.scores, one)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_chance_are_left_as_they_were(method):
    model = build()
    model.train()
    model.blocks[0].eval()
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    ids = tokens(2, 5)
    with torch.no_grad():
        found = method(model)(ids, target=1)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == flags
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not found.scores.requires_grad
    assert not found.output.requires_grad
    assert_close(found.scores, method(model.eval())(ids, target=1).scores)


def test_one_seed_one_answer():
    model, ids = build(), tokens(2, 5)
    first, again, other = (SmoothGrad(model, seed=s)(ids).scores for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sequences_shown_are_counted():
    model, ids = build(), tokens(2, 5)
    seen = []
    model.embedding.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    for explainer in (
        Saliency(model),
        SmoothGrad(model, n_samples=7, batch_size=3),
        IntegratedGradients(model, n_steps=5, batch_size=4),
        IntegratedGradients(model, n_steps=5, baseline=3),
    ):
        seen.clear()
        assert explainer(ids).meta["model_calls"] == sum(seen)


def test_half_precision():
    model, ids = hugging_face("bert", torch.bfloat16), tokens(2, 5)
    for method in METHODS:
        found = method(model)(ids, target=1)
        wide = method(hugging_face("bert"))(ids, target=1)
        assert found.scores.dtype == torch.float32
        assert_close(found.scores, wide.scores, rtol=0.2, atol=0.1)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        (Saliency, {"norm": "max"}, "norm='max'.*'l2', 'l1', 'sum'"),
        (SmoothGrad, {"n_samples": 0}, "n_samples=0 must be a whole number of at"),
        (SmoothGrad, {"n_samples": 2.5}, "n_samples=2.5 must be a whole number"),
        (SmoothGrad, {"stdev": -0.1}, "stdev=-0.1 must be a number of at least 0"),
        (SmoothGrad, {"stdev": float("nan")}, "stdev=nan must be a number"),
        (SmoothGrad, {"seed": "one"}, "seed='one' must be a whole number"),
        (SmoothGrad, {"batch_size": 0}, "batch_size=0"),
        (IntegratedGradients, {"n_steps": 0}, "n_steps=0"),
        (IntegratedGradients, {"n_steps": True}, "n_steps=True"),
    ],
)
def test_options_are_checked_at_once(method, options, says):
    with pytest.raises(ArgumentError, match=says):
        method(build(), **options)


def test_unknown_options_list_the_valid_ones():
    says = "steps=3 is no option of IntegratedGradients; .*n_steps, baseline, wrt"
    with pytest.raises(ArgumentError, match=says):
        explain(build(), tokens(2, 5), "integrated_gradients", steps=3)


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        (torch.zeros(3), r"baseline has shape \(3,\).*\(2, 5, 8\)"),
        (torch.zeros(1, 2, 5, 8), r"baseline has shape \(1, 2, 5, 8\)"),
        ("mean", "baseline='mean' names no token.*one of 'zero', a token id below 11"),
        ("mask", "baseline='mask' names no token.*tokenizer="),
        (11, "baseline=11 names no token"),
        (None, "baseline=None names no token"),
    ],
)
def test_wrong_baselines(baseline, says):
    model = build()
    with pytest.raises(ArgumentError, match=says):
        IntegratedGradients(model, baseline=baseline)(tokens(2, 5))


def test_a_baseline_of_tokens_for_floats():
    with pytest.raises(ArgumentError, match="baseline='pad'.*'zero' or a tensor"):
        IntegratedGradients(nn.Linear(4, 3), baseline="pad")(torch.randn(2, 4))


def test_a_baseline_of_tokens_for_nothing_but_padding():
    batch = {"input_ids": tokens(1, 3), "attention_mask": torch.zeros(1, 3).long()}
    with pytest.raises(TextError, match="example 0 has nothing to perturb"):
        IntegratedGradients(build(Spec(class_token=True)), baseline=3)(batch)


def test_errors_of_the_call():
    model, ids = build(), tokens(2, 5)
    with pytest.raises(ArgumentError, match=r"wrt='block\.1'"):
        Saliency(model, wrt="block.1")(ids)
    with pytest.raises(ArgumentError, match=r"wrt='position'.*\(5, 8\).*2 examples"):
        Saliency(model, wrt="position")(ids)
    with pytest.raises(ArgumentError, match="no gradient reaches wrt='embedding'"):
        Saliency(model)(ids, target=lambda out: out[:, 0].detach())
    with pytest.raises(TargetError, match="target=3 is out of range"):
        Saliency(model)(ids, target=3)
    with torch.inference_mode(), pytest.raises(InferenceModeError, match="no_grad"):
        Saliency(model)(ids)


SIGNS = ("l2", "l1", "sum"), (None, True, False)


def reduced(values, norm, signed):
    """Scores of values [B, T, D], number by number."""
    found = torch.zeros(values.shape[:2], dtype=values.dtype)
    for b, row in enumerate(values.tolist()):
        for t, vector in enumerate(row):
            size = {
                "sum": abs(sum(vector)),
                "l1": sum(abs(v) for v in vector),
                "l2": math.sqrt(sum(v * v for v in vector)),
            }[norm]
            has_sign = norm == "sum" if signed is None else signed
            found[b, t] = math.copysign(size, sum(vector)) if has_sign else size
    return found


@pytest.mark.parametrize(("norm", "signed"), itertools.product(*SIGNS))
def test_gradient_x_input_of_any_norm_and_sign(norm, signed):
    model, ids = build(), tokens(2, 5)
    x, grad = by_hand(model, ids, 2)
    found = GradientXInput(model, norm=norm, signed=signed)(ids, target=2)
    assert_close(found.scores, reduced(x * grad, norm, signed))
    assert found.method == "gradient_x_input"
    assert isinstance(found, Relevance) == (norm == "sum" and signed is not False)


@pytest.mark.parametrize(("norm", "signed"), itertools.product(*SIGNS))
def test_integrated_gradients_of_any_norm_and_sign(norm, signed):
    model, ids = build(), tokens(2, 5)
    x, _ = by_hand(model, ids, 2)
    # Two points of Gauss and Legendre on [0, 1] lie at 1/2 -+ 1/(2 sqrt 3).
    total = torch.zeros_like(x)
    for share in (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)):
        at = (share * x).requires_grad_()
        (grad,) = torch.autograd.grad(model(inputs_embeds=at)[:, 2].sum(), at)
        total += grad / 2
    method = IntegratedGradients(model, n_steps=2, norm=norm, signed=signed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = method(ids, target=2)
    assert_close(found.scores, reduced(total * x, norm, signed))


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients"])
def test_sizes_are_had_by_name_and_are_0_at_padding(method):
    model, tokenizer = sentiment()
    texts = ["a gripping film with a weak ending", "bad"]
    found = explain(model, texts, method, tokenizer, norm="l2")
    assert (found.scores >= 0).all()
    assert (found.scores[1, 3:] == 0).all()
    alone = explain(model, texts[1], method, tokenizer, norm="l2")
    assert_close(found.scores[1, :3], alone.scores[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [GradientXInput, IntegratedGradients])
def test_a_size_or_sign_that_does_not_exist_is_told(method):
    with pytest.raises(ArgumentError, match=r"norm='l3' .*'l2', 'l1', 'sum'"):
        method(build(), norm="l3")
    with pytest.raises(
        ArgumentError, match="signed='no' must be True, False"
    ):
        method(build(), signed="no")
