"""Molecules as graphs, the graph Transformer, its training, and the tables."""

import gzip
import json
import sys
from itertools import pairwise

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from torch.testing import assert_close

from benchmarks.faithfulness.molecules import (
    data,
    draw,
    graphs,
    report,
    run,
    train,
)
from benchmarks.faithfulness.molecules.graphs import (
    BONDS,
    HOPS,
    PAD,
    UNKNOWN,
    VIRTUAL,
    collate,
    graph,
)
from benchmarks.faithfulness.molecules.model import GraphTransformer
from folders import SHARED, needs_shared
from lrp_hooks import instrument

SMILES = (
    "C",
    "CCO",
    "CC(=O)[O-].[Na+]",
    "C1CC2CCC1CC2",
    "C12C3C4C1C5C2C3C45",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CC(C)(C)OC(=O)N[C@@H](Cc1ccccc1)C#N",
    "*c1ccc(Br)cc1S(=O)(=O)NCCCCCCCCCCCCCCCCCCCCCC",
)
CLOSED = ("conservative", "cp-lrp", "attnlrp")
molecules = st.sampled_from(SMILES)
seeds = st.integers(0, 2**31)


def tiny(seed=0, dtype=torch.float32):
    """Build a model with weights far from zero."""
    generator = torch.Generator().manual_seed(seed)
    model = GraphTransformer(width=8, depth=2, heads=2).to(dtype).eval()
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=dtype)
            weight.copy_(0.5 * noise)
    return model


def batch_of(smiles, dtype=torch.float32):
    batch = collate([graph(each) for each in smiles])
    return {**batch, "edges": batch["edges"].to(dtype)}


def explained(model, batch, rules="conservative"):
    with instrument(model, rules, strict=True) as lrp:
        return lrp.attribute(batch, target=1)


@pytest.mark.parametrize("smiles", SMILES)
def test_edges_are_means_over_all_shortest_paths(smiles):
    mol = Chem.MolFromSmiles(smiles)
    network = networkx.Graph()
    network.add_nodes_from(range(mol.GetNumAtoms()))
    for bond in mol.GetBonds():
        kind = BONDS.index(str(bond.GetBondType()))
        network.add_edge(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), kind=kind)
    found = graph(smiles)
    edges = found.edges.unflatten(-1, (HOPS, len(BONDS)))
    lengths = dict(networkx.all_pairs_shortest_path_length(network))
    for i in network:
        for j in network:
            wanted = torch.zeros(HOPS, len(BONDS))
            if j not in lengths[i]:
                assert found.distances[i + 1, j + 1] == graphs.APART
            elif i != j:
                paths = list(networkx.all_shortest_paths(network, i, j))
                for path in paths:
                    steps = list(pairwise(path))[:HOPS]
                    for hop, (u, v) in enumerate(steps):
                        share = 1 / (len(steps) * len(paths))
                        wanted[hop, network.edges[u, v]["kind"]] += share
                assert found.distances[i + 1, j + 1] == min(
                    lengths[i][j], graphs.FARTHEST
                )
            assert_close(edges[i + 1, j + 1], wanted)
    assert not edges[0].any()
    assert not edges[:, 0].any()


def test_atoms_are_told_apart_by_all_that_counts():
    found = graph("CC(=O)[O-].CN.C[NH3+].c1ccncc1.[Fe].[Zn]")
    names = "C CO O O- C N C N+ c c c n c c Fe Zn".split()
    by_name = dict(zip(names, found.atoms[1:].tolist(), strict=True))
    different = ["C", "CO", "O", "O-", "N", "N+", "c", "n", "Fe"]
    assert len({by_name[name] for name in different}) == len(different)
    assert by_name["Fe"] == by_name["Zn"]
    assert found.atoms[0] == VIRTUAL
    assert found.degrees.tolist()[:5] == [0, 1, 3, 1, 1]
    assert UNKNOWN < int(found.atoms[1:].min())
    assert int(found.atoms.max()) < graphs.N_TOKENS


@given(molecules, seeds, st.sampled_from(CLOSED))
def test_scores_follow_atoms_in_any_order(smiles, seed, rules):
    mol = Chem.MolFromSmiles(smiles)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(mol.GetNumAtoms(), generator=generator)
    # The order of a SMILES is that of its atoms, whatever order they were in.
    other = Chem.RenumberAtoms(mol, order.tolist())
    spelled = Chem.MolToSmiles(other, canonical=False)
    written = torch.tensor(
        list(other.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    )
    model = tiny(seed, torch.float64)
    scores, renumbered = (
        explained(model, batch_of([each], torch.float64), rules).scores[0]
        for each in (smiles, spelled)
    )
    assert_close(renumbered[0], scores[0])
    assert_close(renumbered[1:], scores[1:][order[written]])


@given(st.lists(molecules, min_size=2, max_size=4), seeds, st.sampled_from(CLOSED))
def test_padding_changes_nothing(smiles, seed, rules):
    model = tiny(seed, torch.float64)
    together = explained(model, batch_of(smiles, torch.float64), rules)
    for row, each in enumerate(smiles):
        alone = explained(model, batch_of([each], torch.float64), rules)
        size = alone.scores.shape[1]
        assert_close(together.scores[row, :size], alone.scores[0])
        assert_close(together.output[row], alone.output[0])
        assert not together.scores[row, size:].any()


@given(st.lists(molecules, min_size=1, max_size=3), seeds, st.sampled_from(CLOSED))
def test_the_ledger_closes(smiles, seed, rules):
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        relevance = explained(tiny(seed, dtype), batch_of(smiles, dtype), rules)
        assert float(relevance.ledger.error.max()) <= limit
        assert relevance.scores.shape == batch_of(smiles)["atoms"].shape


@pytest.mark.parametrize("name", ["distances", "edges", "degrees"])
def test_what_surrounds_an_atom_is_seen(name):
    model, batch = tiny(), batch_of(["CCCO", "CC(=O)C"])
    before = model(**batch)
    turned = {**batch, name: batch[name].flip(1)}
    assert (model(**turned) - before).abs().max() > 1e-3


def test_only_atoms_are_hidden():
    atoms = torch.tensor([[VIRTUAL, *[9] * 40, *[PAD] * 9]] * 200)
    hidden = train.hide(atoms, 0.25, torch.Generator().manual_seed(0))
    changed = hidden != atoms
    assert (hidden[changed] == UNKNOWN).all()
    assert not changed[:, 0].any()
    assert not changed[:, 41:].any()
    whole = float((~changed.any(1)).double().mean())
    assert 0.2 < whole < 0.4
    assert float(changed[:, 1:41].double().mean()) == pytest.approx(0.375, abs=0.06)
    assert (train.hide(atoms, 1.0, torch.Generator()) == atoms).all()


def test_the_split_keeps_the_share_of_each_class():
    labels = (torch.arange(200) % 10 == 0).long()
    every = data.Molecules([str(i) for i in range(200)], labels)
    parts = data.split(every, 3)
    assert {name: len(part.smiles) for name, part in parts.items()} == {
        "train": 140,
        "validation": 30,
        "test": 30,
    }
    assert [int(part.labels.sum()) for part in parts.values()] == [14, 3, 3]
    assert sorted(s for part in parts.values() for s in part.smiles) == sorted(
        every.smiles
    )
    for part in parts.values():
        assert part.labels.tolist() == [int(int(s) % 10 == 0) for s in part.smiles]
    assert data.split(every, 3)["test"].smiles == parts["test"].smiles
    assert data.split(every, 4)["test"].smiles != parts["test"].smiles


def test_spellings_of_one_molecule_are_one(tmp_path):
    rows = "smiles,FDA_APPROVED,CT_TOX\nOCC,1,0\nC,1,0\nCCO,0,1\n"
    (tmp_path / "clintox.csv.gz").write_bytes(gzip.compress(rows.encode()))
    found = data.read("clintox", tmp_path)
    assert found.smiles == ["OCC", "C"]
    assert found.labels.tolist() == [1, 0]


def test_training_learns_saves_and_loads(tmp_path):
    chains = ["C" * n for n in range(3, 11)]
    both = data.Molecules(
        chains + [f"{chain}Cl" for chain in chains], torch.tensor([0] * 8 + [1] * 8)
    )
    examples = train.Examples.of(both)
    settings = train.Settings(
        width=16, depth=1, heads=2, epochs=20, size=4, lr=5e-3, whole=1.0
    )
    torch.default_generator.manual_seed(0)
    model = settings.model()
    about = train.fit(model, examples, examples, settings)
    assert train.assess(model, examples) > 0.95
    assert about["best_epoch"] <= about["epochs"] <= 20
    train.save(model, tmp_path, "bace", settings, about, {"train": examples})
    loaded, info = train.load("bace", tmp_path)
    assert info["molecules"]["train"] == {"all": 16, "label_1": 8}
    batch = batch_of(both.smiles)
    assert torch.equal(loaded(**batch), model.eval()(**batch))


def test_methods_are_measured_or_refused():
    config = {
        "metrics": ["activation", "pruning"],
        "confidence": 0.95,
        "seed": 0,
        "methods": {
            "AH+LN": {"method": "lrp", "options": {"rules": "ah+ln"}},
            "LOO": {"method": "leave_one_out", "options": {"replace_with": UNKNOWN}},
            "flow": {"method": "gradient_x_input", "options": {"wrt": "nowhere"}},
        },
    }
    model = tiny()
    inputs = batch_of(["CCO", "CC(=O)[O-]"])
    occlusion = run.Occlusion(model, inputs, UNKNOWN, special_ids=(VIRTUAL,))
    labels = torch.tensor([0, 1])
    found, scores = run.measure_methods(
        model, [run.Batch(inputs, labels, occlusion)], config
    )
    assert "nowhere" in found["flow"]["refused"]
    assert list(scores) == ["AH+LN", "LOO"]
    assert found["AH+LN"]["ledger_error"] > 1e-4
    for own in scores.values():
        # Pruning goes by absolute scores, so that the sign is all the same.
        assert torch.equal(own["signed"]["pruning"], own["absolute"]["pruning"])
    wanted = run.explain_all(
        model, [run.Batch(inputs, labels, occlusion)], config["methods"]["LOO"], 0
    )[0][0]
    whole = model(**inputs)[0, 0]
    inputs["atoms"][0, 2] = UNKNOWN
    assert_close(wanted[0, 2], (whole - model(**inputs)[0, 0]).detach())
    assert wanted[0, 0] == 0


def fake(mean):
    one = {"activation": [mean, mean - 0.1, mean + 0.1]}
    return {"signed": one, "absolute": one, "seconds": 1.0}


def test_orderings_are_tested_pair_by_pair():
    published = {"metric": "activation", "sign": "signed", "source": "them"}
    published["scores"] = {"low": 0.1, "high": 0.9, "mid": 0.5}
    config = {"published": published, "confidence": 0.95}
    noise = torch.tensor([0.2, -0.2] * 20)
    values = {"high": 0.5 + noise, "mid": 0.5 - noise, "low": 0.8 + noise}
    scores = {name: {"signed": {"activation": v}} for name, v in values.items()}
    found = run.orderings(scores, config)
    assert [(p["better"], p["worse"]) for p in found] == [
        ("high", "mid"),
        ("high", "low"),
        ("mid", "low"),
    ]
    assert found[1]["difference"] == pytest.approx([-0.3] * 3)
    text = report.verdicts("bace", {"orderings": found}, published, "95 %")
    assert "ahead, 0 of 3: none" in text
    assert "open, 1 of 3: high > mid (+0.000)" in text
    assert "behind, 2 of 3: high > low (-0.300); mid > low (-0.300)" in text


def test_the_table_marks_the_best_and_says_what_is_missing():
    entries = {"a": fake(0.25), "b": fake(0.5), "c": {"refused": "no encoder"}}
    entries["b"]["absolute"] = fake(0.125)["signed"]
    text = report.methods({"methods": entries}, ["activation"])
    assert "| a | signed | 0.250 ± 0.100 |" in text
    assert "| b | signed | **0.500 ± 0.100** |" in text
    assert "| b | absolute | 0.125 ± 0.100 |" in text
    assert "| a | absolute" not in text
    left = report.refusals({"methods": entries}, {"d": "too slow"})
    assert left.endswith("* c: no encoder.\n* d: too slow.")


def test_the_committed_results_are_of_this_configuration():
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    config = json.loads(
        report.RESULTS.with_name("config.json").read_text(encoding="utf-8")
    )
    assert results["config"] == config
    text = report.table(results)
    for task in config["tasks"]:
        assert results["tasks"][task]["molecules"] >= 100
        assert report.TITLES[task] in text


@pytest.mark.parametrize("task", data.TASKS)
def test_trained_models_are_small_and_close_their_ledger(task):
    assert (train.WEIGHTS / f"{task}.safetensors").stat().st_size < 1.5e6
    model, info = train.load(task)
    assert info["task"] == task
    for rules in CLOSED:
        relevance = explained(model, batch_of(SMILES), rules)
        assert float(relevance.ledger.error.max()) <= 1e-5


@needs_shared
@pytest.mark.parametrize("task", data.TASKS)
def test_trained_models_do_as_well_as_they_say(task):
    model, info = train.load(task)
    every = data.read(task, SHARED / "data" / "molecules")
    test = data.split(every, info["settings"]["split_seed"])["test"]
    assert len(test.labels) == info["molecules"]["test"]["all"]
    found = train.assess(model, train.Examples.of(test))
    assert found == pytest.approx(info["auroc"]["test"], abs=1e-3)


def test_draw_writes_a_picture_or_says_why_not(tmp_path, monkeypatch, capsys):
    out = tmp_path / "drawn.svg"
    command = ["draw", "--out", str(out), "--smiles"]
    monkeypatch.setattr(sys, "argv", [*command, "CC(=O)Oc1ccccc1"])
    assert draw.main() == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert text.count("<title>") == 10
    monkeypatch.setattr(sys, "argv", [*command, "C1CC"])
    assert draw.main() == 2
    assert "C1CC" in capsys.readouterr().err
