"""Second layers that take more than neurons, return more, or are asked nothing."""

import pytest
import torch
from lrp_hooks.rules import Gamma
from torch import nn
from torch.nn import functional as F

from circuit_models import build
from lrp_hooks import RuleSet, UnruledWarning, find_circuit, instrument
from lrp_hooks.circuits import cut


def last(output):
    return output[:, -1, 0]


class Residual(nn.Module):
    """x W, and a residual by the way; needed or not."""

    def __init__(self, needed):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5) * 0.4)
        self.needed = needed

    def forward(self, x, residual=None):
        assert residual is not None or not self.needed
        y = F.linear(x, self.weight)
        return y if residual is None else y + residual


class Returning(nn.Linear):
    """Its product and its bias apart."""

    def forward(self, x):
        return F.linear(x, self.weight), self.bias


class Block(nn.Module):
    def __init__(self, down):
        super().__init__()
        self.up, self.down = nn.Linear(6, 5), down

    def forward(self, x):
        hidden = self.up(x).relu()
        if isinstance(self.down, Residual):
            return self.down(hidden, x)
        y, bias = self.down(hidden)
        return x + y + bias


class Experts(nn.Module):
    """Experts that are called whether a token is theirs or not."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6)) for _ in range(4)
        )
        self.gate = nn.Linear(6, 4)

    def forward(self, x):
        rows = x.reshape(-1, 6)
        chosen = self.gate(rows).argmax(-1)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).nonzero().flatten()
            rows = rows.index_add(0, own, expert(rows[own]))
        return rows.view_as(x)


MODELS = {
    "residual": lambda: [Block(Residual(False)), Block(Residual(False))],
    "residual, needed": lambda: [Block(Residual(True)), Block(Residual(True))],
    "bias apart": lambda: [Block(Returning(5, 6)), Block(Returning(5, 6))],
    "idle experts": lambda: [Experts()],
}


def model_of(name):
    torch.manual_seed(0)
    return nn.Sequential(*MODELS[name](), nn.Linear(6, 2)).double()


@pytest.mark.parametrize("options", [{}, {"share": 1.0}, {"max_nodes": 1}])
@pytest.mark.parametrize("name", MODELS)
def test_circuits_balance_and_tokens_have_what_attribute_says(name, options):
    model, x = model_of(name), torch.randn(1, 3, 6).double()
    circuit = find_circuit(model, x, last, **options)
    assert circuit.balance < 1e-12
    with instrument(model) as lrp:
        right = lrp.attribute(x, last)
    tokens = [node.relevance for node in circuit.nodes if node.kind == "token"]
    assert sum(tokens) == pytest.approx(float(right.ledger.inputs), abs=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers
def test_an_adapter_on_the_layer_leaves_the_residual_in_place():
    peft = pytest.importorskip("peft")
    model, inputs = build("bert")
    config = peft.LoraConfig(
        r=2, target_modules=["output.dense"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(model, config).eval().double()
    assert find_circuit(adapted, inputs, 1).balance < 1e-12
    assert find_circuit(adapted, inputs, 1, share=1.0).balance < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_rule_on_the_layer_is_seen_in_half_precision(dtype):
    """The edges out of kept neurons, beside the same weights in float64."""
    rules = RuleSet.named("conservative").override(linear=Gamma(1.0))
    torch.manual_seed(0)
    blocks = [_gated(64, 128) for _ in range(2)]
    model, x = (
        nn.Sequential(*blocks, nn.Linear(64, 2)).to(dtype),
        torch.randn(1, 48, 64),
    )
    edges = [
        {
            (edge.source, edge.target): edge.flow
            for edge in find_circuit(
                model.to(kind), x.to(dtype).to(kind), last, rules=rules, max_nodes=8
            ).edges
            if edge.source.startswith("neuron")
        }
        for kind in (dtype, torch.float64)
    ]
    found, right = edges
    shared = found.keys() & right.keys()
    assert len(shared) > 10
    largest = max(abs(right[key]) for key in shared)
    for key in shared:
        assert found[key] == pytest.approx(right[key], abs=0.05 * largest)


def _gated(width, hidden):
    class Feed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

        def forward(self, x):
            return x + self.down(F.relu(self.up(x)))

    return Feed()


def test_a_graph_that_does_not_balance_is_told(monkeypatch):
    monkeypatch.setattr(cut, "_made_of", lambda y, leaves: True)
    model, x = model_of("residual"), torch.randn(1, 3, 6).double()
    with pytest.warns(UnruledWarning, match="the circuit does not balance"):
        find_circuit(model, x, last)
