"""Inputs in other layouts: sequences first, graphs, objects of graphs, wrappers."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hand_built import calm
from lrp_hooks import RuleSet, ScopeRule, explain, instrument, register
from lrp_hooks.sentiment import sentiment_model
from modalities import noise
from strategies import seeds


class Graph:
    """What torch_geometric's data is to a caller: attributes, keys, a dictionary."""

    def __init__(self, **held):
        self.__dict__["_held"] = held

    def __getattr__(self, name):
        if name.startswith("__") or name not in self.__dict__.get("_held", {}):
            raise AttributeError(name)
        return self._held[name]

    def __setattr__(self, name, value):
        self._held[name] = value

    def __copy__(self):
        return Graph(**self._held)

    def __deepcopy__(self, memo):
        return Graph(**copy.deepcopy(self._held, memo))

    def keys(self):
        return list(self._held)

    def to_dict(self):
        return dict(self._held)


class Messages(nn.Module):
    """Adds to each node what its neighbours say, twice; the mean of each graph."""

    def __init__(self, bias=True):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.own, self.other = nn.Linear(4, 6, bias=bias), nn.Linear(4, 6, bias=bias)
        self.out = nn.Linear(6, 3, bias=bias)
        self.double()

    def nodes(self, x, edge_index):
        start, end = edge_index
        heard = torch.zeros(len(x), 6, dtype=x.dtype)
        heard = heard.index_add(0, end, self.other(x)[start])
        return torch.relu(self.own(x) + heard)

    def forward(self, x, edge_index, batch=None):
        hidden = self.nodes(x, edge_index)
        batch = torch.zeros(len(x), dtype=torch.long) if batch is None else batch
        count = int(batch.max()) + 1
        sums = torch.zeros(count, 6, dtype=x.dtype).index_add(0, batch, hidden)
        return self.out(sums / torch.bincount(batch)[:, None])


class OneArgument(Messages):
    def forward(self, data):
        return super().forward(data.x, data.edge_index, data.batch)


def graphs(sizes, seed=0):
    """Chains of nodes, one graph behind the other."""
    starts = torch.tensor([0, *sizes]).cumsum(0)[:-1]
    edges = [
        torch.stack([torch.arange(n - 1), torch.arange(1, n)]) + start
        for n, start in zip(sizes, starts, strict=True)
    ]
    return {
        "x": noise(sum(sizes), 4, seed=seed),
        "edge_index": torch.cat(edges, 1),
        "batch": torch.repeat_interleave(torch.tensor(sizes)),
    }


def apart(rows, sizes):
    """Rows of each graph, padded."""
    return nn.utils.rnn.pad_sequence(rows.split(list(sizes)), batch_first=True)


@calm
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_nodes_have_scores_graph_by_graph(seed, sizes):
    model, inputs = Messages(), graphs(sizes, seed)
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 1)
    assert found.scores.shape == (len(sizes), max(sizes))
    assert found.values.shape == inputs["x"].shape
    assert float(found.ledger.error.max()) < 1e-10
    # By hand: what passes the relu is linear.
    x, open_ = inputs["x"], model.nodes(inputs["x"], inputs["edge_index"]) > 0
    weight = model.out.weight[1] * open_ / torch.tensor(sizes)[inputs["batch"]][:, None]
    back = torch.zeros(len(x), 6, dtype=x.dtype)
    start, end = inputs["edge_index"]
    back = back.index_add(0, start, weight[end])
    own = (x * (weight @ model.own.weight + back @ model.other.weight)).sum(1)
    torch.testing.assert_close(found.scores, apart(own.detach(), sizes))


@pytest.mark.parametrize("form", ["object", "in a tuple", "positional"])
def test_graphs_come_as_objects_and_by_position(form):
    sizes = [3, 2]
    inputs = graphs(sizes)
    with instrument(Messages()) as lrp:
        wanted = lrp.attribute(inputs, 1)
    data = Graph(**inputs, y=torch.ones(2).double())
    given_ = {
        "object": data,
        "in a tuple": (data,),
        "positional": tuple(inputs.values()),
    }
    model = Messages() if form == "positional" else OneArgument()
    before = {name: value.clone() for name, value in inputs.items()}
    with instrument(model) as lrp:
        found = lrp.attribute(given_[form], 1)
    torch.testing.assert_close(found.scores, wanted.scores)
    assert all(torch.equal(data.to_dict()[n], v) for n, v in before.items())


def test_nodes_of_a_hypergraph_are_one_example():
    class Hyper(Messages):
        def forward(self, x, hyperedge_index):
            return self.out(self.nodes(x, hyperedge_index)).sum(0, keepdim=True)

    inputs = graphs([5])
    with instrument(Hyper()) as lrp:
        found = lrp.attribute((inputs["x"], inputs["edge_index"]), 1)
    assert found.scores.shape == (1, 5)
    assert float(found.ledger.error.max()) < 1e-10


def test_one_graph_and_the_class_of_one_node():
    class Nodes(Messages):
        def forward(self, x, edge_index):
            return self.out(self.nodes(x, edge_index))

    inputs = graphs([5])
    inputs.pop("batch")
    with instrument(Nodes()) as lrp:
        found = lrp.attribute(inputs, lambda out: out[2:3, 1])
    assert found.scores.shape == (1, 5)
    assert (found.scores[0, [0, 3, 4]] == 0).all() and (found.scores[0, 1:3] != 0).all()


class Sequence(nn.Module):
    """Reads token ids [S, B]."""

    def __init__(self, first=True):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.table = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=not first)
        self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head, self.first = nn.Linear(8, 2), first
        self.double().eval()

    def forward(self, ids):
        return self.head(self.body(self.table(ids)).mean(0 if self.first else 1))


IDS = torch.tensor([[1, 4, 7, 9], [3, 3, 8, 2]])


def wanted():
    with instrument(Sequence(False)) as lrp:
        return lrp.attribute(IDS, 1)


def test_sequences_first():
    found = explain(Sequence(), IDS.T, target=1, batch_dim=1)
    torch.testing.assert_close(found.scores, wanted().scores)


def test_a_rule_of_the_model_says_where_its_examples_are():
    class Turned(Sequence):
        pass

    @register(Turned)
    class TurnedRule(ScopeRule):
        """Only says that sequences come first."""

        batch_dim = 1

    assert RuleSet.named("conservative") is not None
    with instrument(Turned()) as lrp:
        found = lrp.attribute(IDS.T, 1)
        torch.testing.assert_close(found.scores, wanted().scores)
        torch.testing.assert_close(lrp.audit(IDS.T, 1).ledger.total, found.output)


def test_a_wrapper_of_devices_keeps_the_names():
    model, tokenizer = sentiment_model()
    plain = explain(model, "a fine film", tokenizer=tokenizer)
    wrapped = explain(nn.DataParallel(model), "a fine film", tokenizer=tokenizer)
    assert wrapped.targets == plain.targets == ["positive"]
    assert list(wrapped.ledger.sources) == list(plain.ledger.sources)
    batch = dict(tokenizer("a fine film", return_tensors="pt"))
    with instrument(nn.DataParallel(model)) as lrp:
        found = lrp.attribute(batch, "positive")
    torch.testing.assert_close(found.scores, plain.scores)
