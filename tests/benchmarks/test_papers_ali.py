"""Ali et al.'s experiments: the authors' metric, their model by hand, tiny runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ali_models import authors
from benchmarks.faithfulness.molecules.run import Batch
from benchmarks.faithfulness.training.loop import Settings
from benchmarks.papers.ali import __main__ as command
from benchmarks.papers.ali import draw, report, texts, train
from benchmarks.papers.ali.cases import Case
from benchmarks.papers.ali.model import AttentionOnly, load, save
from benchmarks.papers.ali.run import areas, measure, names
from benchmarks.papers.page import load_config, tables
from folders import arrays
from lrp_hooks import instrument, sentiment
from lrp_hooks.faithfulness import Occlusion

CONFIG = load_config(report.HERE)
UNKNOWN = 5


@pytest.mark.parametrize("case", ["GI", "LRP_AH", "LRP_LN", "LRP_AH_LN"])
@pytest.mark.parametrize("target", range(3))
def test_areas_are_those_of_the_authors(case, target):
    golden, ids = arrays("ali/flip"), arrays("ali/golden")["input_ids"]
    scores = arrays("ali/golden")[f"f64/{case}/R_class{target}"][None]
    occlusion = Occlusion(authors("f64"), ids, UNKNOWN, published=True)
    found = areas(occlusion, scores, torch.tensor([target]))
    key = f"flip/{case}/class{target}"
    evidence = golden[f"{key}/pruning_evidence"]
    right = {
        "AUAC": golden[f"{key}/AUAC"],
        "AU-MSE": golden[f"{key}/AU_MSE"],
        "AUPC": np.trapezoid(evidence, np.linspace(0, 1, 11)),
    }
    for name, value in right.items():
        assert abs(float(found[name]) - float(value)) <= 1e-9


class Words(nn.Module):
    """Embeddings by the names of BERT's."""

    def __init__(self, width=8):
        super().__init__()
        self.word_embeddings = nn.Embedding(20, width)
        self.LayerNorm = nn.LayerNorm(width)

    def forward(self, input_ids):
        return self.LayerNorm(self.word_embeddings(input_ids))


def tiny(seed=0):
    torch.manual_seed(seed)
    model = AttentionOnly(Words(), classes=2, depth=3, heads=2).double().eval()
    for block in model.blocks:
        nn.init.normal_(block.query.weight)
        nn.init.normal_(block.key.weight)
    return model


def by_hand(model, ids):
    x = model.embeddings(ids)
    for block in model.blocks:
        q, k, v = (
            layer(x).reshape(*ids.shape, 2, 4)
            for layer in (block.query, block.key, block.value)
        )
        scores = torch.einsum("bihd,bjhd->bhij", q, k)  # no root
        mixed = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(2)
        summed = x + block.output(mixed)
        centred = summed - summed.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
    return model.classifier(torch.tanh(model.pooler(x[:, 0])))


IDS = torch.tensor([[1, 7, 4, 9], [3, 3, 12, 2]])


def test_the_model_is_the_papers():
    model = tiny()
    assert_close(model(IDS).logits, by_hand(model, IDS))
    assert not any(p.requires_grad for p in model.embeddings.parameters())
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert_close(model(IDS, mask).logits[1], model(IDS[1:, :2]).logits[0])


def test_without_biases_it_conserves_but_for_the_pooler():
    model = tiny()
    for name, value in model.named_parameters():
        if name.endswith("bias") and not name.startswith("embeddings"):
            nn.init.zeros_(value)
    with instrument(model, "ah+ln") as lrp:
        found = lrp.attribute(IDS, 1, wrt="embeddings.LayerNorm", layers=["pooler"])
    assert_close(found.scores.sum(1), found.layers["pooler"].sum(1))


def test_what_is_saved_is_loaded_in_half_precision(tmp_path):
    model = tiny().float()
    save(model, tmp_path / "it", {"task": "toy"})
    again, about = load(tmp_path / "it", model.embeddings)
    assert about["task"] == "toy"
    for name, value in model.state_dict().items():
        right = value if name.startswith("embeddings") else value.half().float()
        assert torch.equal(again.state_dict()[name], right)


def toy_case():
    model = tiny()
    every = torch.randint(3, 20, (5, 4), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1])

    def batches(rows):
        for part in filter(len, (rows[1:], rows[:1])):  # in another order
            inputs = {"input_ids": every[list(part)]}
            yield (
                list(part),
                Batch(
                    inputs,
                    labels[list(part)],
                    Occlusion(model, inputs, 2, published=True),
                ),
            )

    where = {"embedding LayerNorm": "embeddings.LayerNorm", "word embeddings": None}
    return Case(model, 5, batches, where, 0.6, "[UNK]", None)


def test_every_method_is_measured_in_the_order_of_the_rows():
    case = toy_case()
    found = measure(CONFIG, case, [4, 0, 3])
    one = measure(CONFIG, case, [3, 4])
    assert len([key for key in found if key.startswith("AUAC")]) == 4 + 2 * 4
    for key, values in found.items():
        assert len(values) == 3
        assert values[0] == pytest.approx(one[key][1])
        assert values[2] == pytest.approx(one[key][0])
    whole = case.model(torch.cat([b.inputs["input_ids"] for _, b in case.batches([4])]))
    assert found["output"][0] == pytest.approx(float(whole.logits[0, 1]))
    assert {name for name, _ in names(CONFIG, case)} >= {"GI @ word embeddings"}


def test_a_slow_method_is_measured_where_its_setting_says():
    config = command.with_methods(CONFIG, "sst2-flow")
    assert "A-Flow" not in command.with_methods(CONFIG, "sst2")["everywhere"]
    case = toy_case()
    found = {k: torch.tensor(v) for k, v in measure(config, case, [0, 1, 2]).items()}
    own = CONFIG["settings"]["sst2-flow"]
    entry, *_ = command.rows(config, own, case, found)
    assert "A-Flow" in entry["ours"]
    pairs = {(pair["better"], pair["worse"]) for pair in entry["orderings"]}
    assert ("LRP (AH+LN)", "A-Flow") in pairs
    assert ("A-Flow", "Random") in pairs


def test_a_row_of_another_read_out_is_not_at_the_protocol():
    case = toy_case()
    found = {k: torch.tensor(v) for k, v in measure(CONFIG, case, [0, 1, 2]).items()}
    own = {"data": "toy", "model": "tiny", "paper": "SST-2", "at_protocol": True}
    rows = command.rows(CONFIG, own, case, found)
    assert [row["at_protocol"] for row in rows] == [True] * 3 + [False] * 3
    assert all(len(row["orderings"]) for row in rows)
    own["at_protocol"] = False
    assert not any(row["at_protocol"] for row in command.rows(CONFIG, own, case, found))
    text = tables({"sst2": {"rows": rows, "environment": {}, "date": ""}}, CONFIG)
    before, after = text.split("Elsewhere than at the protocol:")
    assert "What is not the same, and why:" in before
    assert "word embeddings | the true class" not in before.split("## Orderings")[1]
    assert "reversed" not in after
    assert "behind" in after


def test_every_published_method_is_run():
    known = {*CONFIG["where_read"]}
    for name in CONFIG["settings"]:
        known |= {*command.with_methods(CONFIG, name)["everywhere"]}
    for table in CONFIG["published"].values():
        for scores in table.values():
            assert scores.keys() <= known


def write_parquet(path, column, labels):
    import pandas

    path.parent.mkdir(parents=True, exist_ok=True)
    said = [f"film {number}" for number in range(len(labels))]
    pandas.DataFrame({column: said, "label": labels}).to_parquet(path)


def test_a_model_is_trained_and_saved(tmp_path, monkeypatch):
    monkeypatch.setitem(texts.CHOOSE, "imdb", 6)
    write_parquet(tmp_path / "imdb" / "train.parquet", "text", [0, 1] * 12)
    write_parquet(tmp_path / "imdb" / "test.parquet", "text", [1, 0] * 4)
    splits = texts.read("imdb", tmp_path, 0)
    assert [len(part.texts) for part in splits] == [18, 6, 8]
    assert not set(splits.train.texts) & set(splits.choose.texts)
    base = Path(sentiment.__file__).parent
    train.train("imdb", base, tmp_path, tmp_path / "out", Settings(1, 6, 1e-3))
    about = json.loads((tmp_path / "out" / "imdb.json").read_text(encoding="utf-8"))
    assert (about["trained_on"], about["steps"]) == (18, 3)
    assert about["built"] == {"classes": 2, "depth": 3, "heads": 4}
    assert about["held_out"]["number"] == 8


def test_the_figure_has_a_panel_a_method(tmp_path):
    sums = {f"sum | {name} @ {draw.WHERE}": [0.0, 1.0] for name in draw.METHODS}
    draw.draw({"output": [0.0, 1.0], **sums}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(KeyError):
        draw.draw({"output": [0.0]}, tmp_path / "figure.png")


def test_the_page_shows_the_committed_results():
    page = (report.HERE / "README.md").read_text(encoding="utf-8")
    assert report.REPORT.table() in page
