"""MambaLRP: B, C and the step size frozen, by a replica with every gate detached."""

import pytest
import torch
from lrp_hooks.rules import Frozen
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import instrument
from mixing_models import Doubles, mixing_batch, mixing_model


def normed(norm, x):
    scale = (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    return norm.weight * x * scale.detach()


def scan(mixer, x, frozen):
    """The selective state space: B and C detached, or half of each product theirs."""
    made = mixer.x_proj(x)
    rank, size = mixer.time_step_rank, mixer.ssm_state_size
    step, b, c = made.split([rank, size, size], -1)
    step = F.softplus(mixer.dt_proj(step)).detach()
    a = -torch.exp(mixer.A_log).detach()
    b, c = (b.detach(), c.detach()) if frozen else (b, c)
    shared = (lambda product: product) if frozen else halved
    state, outputs = x.new_zeros(len(x), x.shape[2], size), []
    for t in range(x.shape[1]):
        written = shared(step[:, t, :, None] * b[:, t, None] * x[:, t, :, None])
        state = torch.add(written, torch.exp(step[:, t, :, None] * a) * state)
        outputs.append(shared((state * c[:, t, None]).sum(-1)))
    return torch.stack(outputs, 1) + x * mixer.D


def halved(product):
    return product / 2 + (product / 2).detach()


def silu(x):
    return x * x.sigmoid().detach()


def replica(model, inputs, frozen):
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach()
    embedded.requires_grad_()
    x = embedded
    for layer in model.backbone.layers:
        mixer = layer.mixer
        y, z = mixer.in_proj(normed(layer.norm, x)).chunk(2, -1)
        length = y.shape[1]
        y = silu(mixer.conv1d(y.transpose(1, 2))[..., :length].transpose(1, 2))
        y = halved(scan(mixer, y, frozen) * silu(z))
        x = torch.add(x, mixer.out_proj(y))
    logits = model.lm_head(normed(model.backbone.norm_f, x))
    (grad,) = torch.autograd.grad(logits[:, -1, 5].sum(), embedded)
    return (grad * embedded).sum(-1).detach(), logits.detach()


@pytest.mark.parametrize("frozen", [True, False])
def test_mamba_lrp_is_conservative_with_c_frozen(frozen):
    model, inputs = mixing_model("Mamba", biases=True), mixing_batch(9)
    for parameter in model.parameters():
        parameter.data *= 2  # so that states weigh something beside the skip
    right, logits = replica(model, inputs, frozen)
    overrides = {"*.x_proj": Frozen()} if frozen else {}
    with Doubles(), instrument(model, overrides=overrides) as lrp:
        found = lrp.attribute(inputs, 5)
        assert_close(model(**inputs).logits, logits, rtol=0, atol=1e-10)
    # The layer works in single precision inside.
    assert_close(found.scores, right, rtol=0, atol=1e-6 * float(right.abs().max()))
    assert found.ledger.error.max() < 1e-6
    other, _ = replica(model, inputs, not frozen)
    assert (right - other).abs().max() > 1e-3 * right.abs().max()


def test_what_is_frozen_leaves_its_share_to_others():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.value = (nn.Linear(4, 3, bias=False) for _ in "gv")

        def forward(self, x):
            return self.gate(x) * self.value(x)

    model, x = Gated().double(), torch.randn(2, 4).double()
    with instrument(model, overrides={"gate": Frozen()}) as lrp:
        found = lrp.attribute(x, 1)
    gate, weight = model.gate(x)[:, 1:2], model.value.weight[1]
    assert_close(found.scores, (gate * weight * x).detach())
    assert found.ledger.error.max() < 1e-12
