"""Rules of users and of installed packages reach Captum's users unchanged."""

import subprocess
import sys
import textwrap

import pytest
import torch
from captum.attr import InputXGradient, NoiseTunnel
from lrp_hooks.rules import Epsilon
from torch import nn
from torch.testing import assert_close

from captum_models import Seven
from lrp_hooks import (
    ArgumentError,
    RuleSet,
    ScopeRule,
    UnruledError,
    UnruledWarning,
    freeze,
    instrument,
    register,
)
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance, NeuronRelevance
from strategies import noise
from third_party import PLUGIN, seeing

X = noise(4, 3)


class Scaled(nn.Module):
    def forward(self, x):
        return x.flip(-1).flip(-1)


def _model():
    torch.default_generator.manual_seed(0)
    return nn.Sequential(Scaled(), nn.Linear(3, 2, bias=False)).double()


@pytest.fixture
def seven():
    register(Scaled)(Seven)


def test_a_registered_rule(seven):
    model = _model()
    want = 7 * X * model[1].weight[1].detach()
    method = ConservativeRelevance(model)
    assert_close(method.attribute(X, 1), want)
    layer = LayerRelevance(model, model[0])
    at_input = layer.attribute(X, 1, attribute_to_layer_input=True)
    assert_close(at_input, want)
    assert_close(layer.attribute(X, 1), want / 7)
    neuron = NeuronRelevance(model, model[1]).attribute(X, 1)
    assert_close(neuron, want)
    found = NoiseTunnel(method).attribute(X, nt_samples=2, stdevs=0.0, target=1)
    assert_close(found, want)
    with instrument(model):
        plain = InputXGradient(model).attribute(X.clone().requires_grad_(), 1)
    assert_close(plain, want)


@pytest.mark.parametrize("key", ["instance", "0", Scaled])
def test_a_rule_for_one_call(key):
    model = _model()
    overrides = {model[0] if key == "instance" else key: Seven()}
    want = 7 * X * model[1].weight[1].detach()
    found = ConservativeRelevance(model, overrides=overrides).attribute(X, 1)
    assert_close(found, want)
    assert_close(ConservativeRelevance(model).attribute(X, 1), want / 7)
    with instrument(model, overrides=overrides):
        assert_close(ConservativeRelevance(model).attribute(X, 1), want)


def test_options_that_contradict_what_is_in_force_are_refused():
    model = _model()
    with instrument(model):
        for options in (
            {"rules": "attnlrp"},
            {"rules": RuleSet.named("conservative").override(linear=Epsilon(0.1))},
            {"overrides": {Scaled: Seven()}},
            {"strict": True},
        ):
            with pytest.raises(ArgumentError, match="say so to instrument"):
                ConservativeRelevance(model, **options).attribute(X, 1)
        assert ConservativeRelevance(model, "conservative").attribute(X, 1).any()


def test_what_has_no_rule_is_named_and_then_mended():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.gate = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)

        def forward(self, x):
            return self.up(x) * torch.special.ndtr(self.gate(x))

    torch.default_generator.manual_seed(0)
    model = nn.Sequential(Odd(), nn.Linear(3, 2, bias=False)).double()
    with pytest.warns(UnruledWarning, match="special_ndtr"):
        leaking = ConservativeRelevance(model).attribute(X, 1, None, True)[1]
    assert leaking.abs().max() > 1e-3
    with pytest.raises(UnruledError, match="special_ndtr"):
        ConservativeRelevance(model, strict=True).attribute(X, 1)

    @register(Odd)
    class Mended(ScopeRule):
        def functions(self, module):
            return {torch.special.ndtr: lambda func, x: func(freeze(x))}

    # A gate that is frozen leaves all to what it lets through.
    method = ConservativeRelevance(model, strict=True)
    assert method.attribute(X, 1, None, True)[1].abs().max() < 1e-12


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        return grad / 2


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2).double()

    def forward(self, x):
        return self.linear(Halved.apply(x))


def test_backwards_that_bypass_the_rules_are_named():
    model = Foreign()
    with pytest.warns(UnruledWarning, match="Halved"):
        ConservativeRelevance(model).attribute(X, 1)
    with pytest.warns(UnruledWarning, match="Halved"):
        LayerRelevance(model, model.linear).attribute(X, 1)


PROJECT = """
    [project]
    name = "captum-users-rules"
    version = "1.0"
    [project.entry-points."lrp_hooks.rules"]
    theirs = "captum_users_rules"
    [tool.setuptools]
    py-modules = ["captum_users_rules"]
"""
USE = """
    import sys, torch
    from torch import nn
    from captum.attr import InputXGradient, NoiseTunnel
    from lrp_hooks import instrument
    from lrp_hooks.captum import ConservativeRelevance, LayerRelevance
    import captum_users_rules

    model = nn.Sequential(captum_users_rules.Doubling(), nn.Linear(3, 1, bias=False))
    x = torch.ones(1, 3)
    want = 7 * model[1].weight.detach()
    method = ConservativeRelevance(model, strict=True)
    found = [
        method.attribute(x),
        NoiseTunnel(method).attribute(x, nt_samples=2, stdevs=0.0),
        LayerRelevance(model, model[0]).attribute(x, attribute_to_layer_input=True),
    ]
    with instrument(model):
        found.append(InputXGradient(model).attribute(x.clone().requires_grad_()))
    assert all(torch.allclose(one, want) for one in found), found
    print("picked up")
"""


def test_a_package_that_was_installed_with_pip(forks, tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "captum_users_rules.py").write_text(PLUGIN)
    (source / "pyproject.toml").write_text(textwrap.dedent(PROJECT))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--no-index", "--target", str(site), str(source)]
    subprocess.run(pip, check=True)
    done = forks.run(seeing(site, USE))
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"picked up\n"
