"""What bends relevance and has no rule is named, never silent."""

import warnings

import pytest
import torch
from torch import nn

from lrp_hooks import RuleSet, UnruledError, UnruledWarning, instrument
from small_models import vector
from strategies import Spec, build, noise, tokens


class Bent(nn.Module):
    """No leaf, so that the function does not pass for an activation module."""

    def __init__(self, function):
        super().__init__()
        self.function, self.map = function, nn.Linear(4, 4)

    def forward(self, x):
        return self.function(self.map(x))


UNKNOWN = {
    "i0": torch.special.i0,
    "erfcx": torch.special.erfcx,
    "bessel_j0": torch.special.bessel_j0,  # torch knows no derivative
    "renorm": lambda x: torch.renorm(x, 2, 0, 0.5),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_rule_is_never_silent(name):
    model = vector(Bent(UNKNOWN[name]))
    x = noise(2, 4)
    with instrument(model, strict=True) as lrp:
        with pytest.raises(UnruledError, match=f"{name}.*called by 1.*register"):
            lrp.attribute(x)
        with pytest.raises(UnruledError):
            model(x.clone().requires_grad_())
    with instrument(model) as lrp:
        with pytest.warns(UnruledWarning, match=rf"{name}.*\(in 1\)") as caught:
            lrp.attribute(x)
            lrp.attribute(x)
        # Where torch knows no derivative, the cut is warned of as well, each time.
        assert len([w for w in caught if "without a rule" in str(w.message)]) == 1
        assert {(f, m) for f, m in lrp.coverage.unruled if name in f and m == "1"}
        assert name in repr(lrp)


def test_one_warning_names_all():
    model = vector(Bent(torch.special.i0), Bent(torch.special.erfcx))
    with instrument(model.double()) as lrp:
        with pytest.warns(UnruledWarning) as caught:
            lrp.attribute(noise(2, 4))
    (warning,) = caught
    assert "i0 (in 1)" in str(warning.message)
    assert "erfcx (in 2)" in str(warning.message)


@pytest.mark.parametrize("rules", RuleSet.names())
def test_what_has_a_rule_passes_strictly(rules):
    parts = Spec(class_token=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with instrument(build(parts), rules, strict=True) as lrp:
            lrp.attribute(tokens(2, 3))
    assert not lrp.coverage.unruled


class TwoHeads(nn.Module):
    """Computes a loss or a score beside the logits that are explained."""

    def __init__(self, beside):
        super().__init__()
        self.map, self.beside = nn.Linear(4, 3), beside

    def forward(self, x):
        logits = self.map(x)
        return {"logits": logits, "beside": self.beside(logits)}


BESIDE = {
    "cross_entropy": lambda y: nn.functional.cross_entropy(y, y.argmax(-1))[None],
    "i0": lambda y: torch.special.i0(y).sum(-1),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_the_explained_output_does_not_depend_on_is_no_warning(name):
    model, x = TwoHeads(BESIDE[name]).double(), noise(2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with instrument(model, strict=True) as lrp:
            lrp.attribute(x, target=1)
            assert not lrp.coverage.unruled
            lrp.attribute(x, target=lambda out: out["logits"][:, 0])
    with instrument(model) as lrp, pytest.warns(UnruledWarning, match=name):
        lrp.attribute(x, target=lambda out: out["beside"].expand(2) * 1)
    with instrument(model, strict=True) as lrp, pytest.raises(UnruledError, match=name):
        lrp.attribute(x, target=lambda out: out["beside"].expand(2) * 1)


class SparseGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 3)
        self.register_buffer("adjacent", torch.eye(5).roll(1, 0).to_sparse())

    def forward(self, x):
        return torch.sparse.mm(self.adjacent, self.map(x[0]).relu()).sum(0)[None]


def test_a_sparse_product_and_a_backward_hook_bend_nothing():
    hooked = vector(Bent(torch.relu)).double()
    hooked[1].register_full_backward_hook(lambda module, given, taken: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnruledWarning)
        for model, x in (
            (SparseGraph().double(), noise(1, 5, 4)),
            (hooked, noise(2, 4)),
        ):
            with instrument(model, strict=True) as lrp:
                assert lrp.attribute(x, target=1).ledger.error.max() < 1e-5
