"""The chemistry benchmark: atoms to tokens by hand, its arithmetic, its tables."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.faithfulness.chemistry import reactions, report, run
from benchmarks.faithfulness.chemistry.reactions import Reaction
from benchmarks.faithfulness.plausibility.methods import Scored
from folders import SHARED, needs_shared

CONFIG = json.loads(reactions.HERE.joinpath("config.json").read_text(encoding="utf-8"))
AMIDE = Reaction(
    "amide coupling",
    "CC(=O)O.NCc1ccccc1>>CC(=O)NCc1ccccc1",
    [1, 6, 8],
    [21, 26],
)
NITRO = Reaction(
    "nitro reduction",
    "O=[N+]([O-])c1ccc(Cl)cc1>>Nc1ccc(Cl)cc1",
    [0, 2, 7],
    [26],
)
BOC = Reaction(
    "Boc removal",
    "CC(C)(C)OC(=O)NCc1ccccc1>>NCc1ccccc1",
    [0, 1, 3, 6, 8, 9, 12, 14],
    [26],
)
# The isocyanate stands first in the template, and second in the string.
UREA = Reaction(
    "urea from an isocyanate", "CCN.CN=C=O>>CCNC(=O)NC", [2, 5, 7], [14, 15, 20]
)
SUZUKI = Reaction(
    "Suzuki coupling",
    "Brc1ccccc1.Cc1ccc(B(O)O)cc1>>Cc1ccc(-c2ccccc2)cc1",
    [0, 2, 16, 18, 20, 22],
    [34, 37],
)


@pytest.mark.parametrize(
    ("wanted", "reactants"),
    [
        (AMIDE, ["CC(=O)O", "NCc1ccccc1"]),
        (NITRO, ["Clc1ccc([N+](=O)[O-])cc1"]),
        (BOC, ["CC(C)(C)OC(=O)NCc1ccccc1"]),
        (UREA, ["CN=C=O", "CCN"]),
        (SUZUKI, ["Brc1ccccc1", "OB(O)c1ccc(C)cc1"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_atoms_that_change_are_found(wanted, reactants):
    smarts = CONFIG["reactions"][wanted.name]["smarts"]
    found = reactions.react(wanted.name, smarts, reactants)
    assert found.smiles == wanted.smiles
    assert sorted(found.reactants) == wanted.reactants
    assert sorted(found.product) == wanted.product


@pytest.mark.parametrize(
    "reactants",
    [
        ["OC(=O)CC(=O)O", "NC"],  # two acids
        ["CC(=O)O", "NCCN"],  # two amines
        ["NCC(=O)O", "NC"],  # the acid is an amine
        ["CC(=O)OC", "NC"],  # no acid
    ],
)
def test_what_may_react_otherwise_is_left_out(reactants):
    smarts = CONFIG["reactions"]["amide coupling"]["smarts"]
    assert reactions.react("", smarts, reactants) is None


def test_the_committed_reactions_are_those_of_the_configuration():
    made = reactions.make_all(CONFIG)
    assert made == reactions.load()
    assert len({one.smiles for one in made}) == len(made)


def test_blocks_join_a_group_a_core_and_a_substituent():
    config = {"cores": {"aryl": ["{g}c1ccc({s})cc1"]}, "substituents": ["F", "C#N"]}
    found = reactions.blocks(config, ["OB(O)@aryl"])
    assert found == ["OB(O)c1ccc(F)cc1", "OB(O)c1ccc(C#N)cc1"]


class Tokenizer:
    """Brackets, chlorine and the arrow are one token, and so is all else."""

    pad_token_id, all_special_ids = 0, [0, 1]

    def __call__(self, smiles, **_):
        parts = [m.span() for m in re.finditer(r"\[[^]]+\]|Cl|Br|>>|.", smiles)]
        return {
            "input_ids": [1, *(2 + (smiles[a] == "N") for a, _ in parts), 1],
            "offset_mapping": [(0, 0), *parts, (0, 0)],
            "special_tokens_mask": [1, *[0] * len(parts), 1],
        }


def marked(reaction, name, part):
    one = run.example(Tokenizer(), reaction, 0)
    spans = Tokenizer()(reaction.smiles)["offset_mapping"]
    flags = getattr(one, part)[name].tolist()
    return [reaction.smiles[a:b] for (a, b), f in zip(spans, flags, strict=True) if f]


def test_tokens_of_atoms_are_the_rationale():
    assert marked(NITRO, "reactants", "rationales") == ["O", "[N+]", "[O-]"]
    assert marked(NITRO, "both sides", "rationales") == ["O", "[N+]", "[O-]", "N"]
    assert "".join(marked(NITRO, "reactants", "masks")) == "O=[N+]([O-])c1ccc(Cl)cc1"
    assert "".join(marked(NITRO, "both sides", "masks")) == NITRO.smiles
    atoms = marked(NITRO, "atoms", "masks")
    assert atoms == ["O", "[N+]", "[O-]", "c", "c", "c", "c", "Cl", "c", "c"]


class Model(nn.Module):
    """Class 1 as surely as there is a nitrogen at the second place."""

    def __init__(self):
        super().__init__()
        self.odds = nn.Parameter(torch.tensor(5.0))

    def forward(self, input_ids, attention_mask):
        odds = self.odds * (2.0 * (input_ids[:, 1] == 3) - 1)
        return SimpleNamespace(logits=torch.stack([-odds, odds], 1))


def fake_config(*textbook):
    template = {"textbook": textbook}
    return {
        "reactions": {"x": template},
        "batch": 2,
        "textbook_probability": 0.99,
        "kept_probability": 0.9,
    }


def test_textbook_cases_decide_the_class():
    found = run.classes(Model(), Tokenizer(), fake_config("N>>C", "NC>>C"))
    assert found == {"x": {"class": 1, "least": 1.0}}
    with pytest.raises(ValueError, match="x has no class"):
        run.classes(Model(), Tokenizer(), fake_config("N>>C", "C>>C"))
    unsure = Model()
    unsure.odds.data.fill_(1.0)
    with pytest.raises(ValueError, match="x has no class"):
        run.classes(unsure, Tokenizer(), fake_config("N>>C"))


def test_what_the_model_gets_wrong_is_counted_and_left_out():
    data = [
        Reaction("x", "NC>>C", [0], [4]),
        Reaction("x", "CN>>C", [0], [4]),
        Reaction("x", "NO>>C", [0], [4]),
        Reaction("y", "CO>>C", [0], [4]),
    ]
    known = {"x": {"class": 1}, "y": {"class": 0}}
    kept, counts = run.choose(Model(), Tokenizer(), data, known, fake_config())
    assert [one.reaction.smiles for one in kept] == ["NC>>C", "CO>>C", "NO>>C"]
    assert counts == {"x": [2, 3], "y": [1, 1]}


def test_a_method_is_summed_up_by_kind(monkeypatch):
    examples = [
        run.example(Tokenizer(), one, 0)
        for one in (Reaction("x", "NC>>C", [0], [4]), Reaction("y", "NC>>C", [1], [4]))
    ]
    scores = [torch.tensor([9.0, 3, 2, 8, 7, 9])] * 2
    monkeypatch.setattr(run, "build", lambda *_: None)
    monkeypatch.setattr(run, "score", lambda *_: Scored(scores, 1.0, 2))
    config = {"batch": 2, "confidence": 0.95}
    found = run.entry(None, None, {}, examples, lambda _: {}, config)
    assert found["by_reaction"] == {"x": 1.0, "y": 0.0}
    assert found["plausibility"][report.MAIN]["mean"] == 0.5
    assert (found["reactions"], found["seconds"]) == (2, 1.0)


def test_the_table_shows_the_committed_results():
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert results["config"] == CONFIG
    shown = report.table(results)
    for part in results["models"].values():
        assert set(part["methods"]) <= set(CONFIG["methods"])
        for name, entry in part["methods"].items():
            mean = entry["plausibility"][report.MAIN]
            number = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**mean)
            assert f"| {name} | {number} |" in shown


@needs_shared
def test_the_model_splits_reactions_at_atoms():
    from lrp_hooks.texts.loading import load_tokenizer

    (name,) = CONFIG["models"]
    tokenizer = load_tokenizer(SHARED / "models" / name)
    for one in reactions.load():
        example = run.example(tokenizer, one, 0)
        assert tokenizer.unk_token_id not in example.ids
        assert int(example.rationales["reactants"].sum()) == len(one.reactants)
        both = len(one.reactants) + len(one.product)
        assert int(example.rationales["both sides"].sum()) == both
        for rationale, marks in example.rationales.items():
            assert bool((marks & example.masks[rationale]).any())
