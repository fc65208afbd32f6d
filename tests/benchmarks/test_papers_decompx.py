"""DecompX's experiments: masking and rationales by hand, tiny runs."""

import json
from math import floor
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from benchmarks.faithfulness.training.loop import Settings
from benchmarks.papers.decompx import __main__ as command
from benchmarks.papers.decompx import data, rationales, report, run, train
from benchmarks.papers.page import load_config
from lrp_hooks import sentiment
from lrp_hooks.faithfulness import Occlusion
from shared_models import sentiment as embedded

CONFIG = load_config(report.HERE)
TEXTS = ["a gripping film", "dull , dull and long", "not good", "fine"]
LABELS = torch.tensor([1, 0, 0, 1])


def case():
    model, tokenizer = embedded()
    examples = data.Examples(tokenizer, TEXTS, LABELS, 128)
    parts = data.Parts(examples, examples, examples)
    return run.Case(model, tokenizer, parts, "bert.embeddings.LayerNorm", 0.5)


def by_hand(model, tokenizer, scores, order):
    """Mask by descending or ascending scores, one text at a time."""
    lost, right = [], []
    for text, label, own in zip(TEXTS, LABELS.tolist(), scores, strict=True):
        ids = tokenizer(text)["input_ids"]
        places = range(1, len(ids) - 1)
        ranked = sorted(places, key=lambda i, own=own: order * float(own[i]))
        whole = model(torch.tensor([ids])).logits.softmax(-1)[0].double()
        best = int(whole.argmax())
        drops, hits = [], []
        for tenths in range(1, 10):
            hidden = set(ranked[: floor(len(places) * tenths / 10)])
            masked = [
                tokenizer.mask_token_id if i in hidden else t for i, t in enumerate(ids)
            ]
            said = model(torch.tensor([masked])).logits.softmax(-1)[0].double()
            drops.append(float(whole[best] - said[best]))
            hits.append(float(int(said.argmax()) == label))
        lost.append(sum(drops) / 9)
        right.append(sum(hits) / 9)
    return torch.tensor(lost), torch.tensor(right)


def test_masking_is_that_of_the_paper():
    own = case()
    batch = own.parts.held_out.batch(range(4), special=True)
    scores = torch.randn(
        batch.inputs["input_ids"].shape, generator=torch.Generator().manual_seed(0)
    ).double()
    inputs = {k: v for k, v in batch.inputs.items() if "special" not in k}
    occlusion = Occlusion(own.model, batch.inputs, own.tokenizer.mask_token_id)
    predicted = own.model(**inputs).logits.argmax(-1)
    found = run.masked(occlusion, scores, predicted, LABELS)
    for order, name in ((-1, ""), (1, ", least important")):
        lost, right = by_hand(own.model, own.tokenizer, scores, order)
        assert_close(found[f"AOPC{name}"].float(), lost, rtol=1e-4, atol=1e-5)
        assert_close(found[f"accuracy{name}"].float(), right)


def test_every_method_of_the_table_is_measured():
    own = case()
    found = run.measure(CONFIG, own, [2, 0])
    alone = run.measure(CONFIG, own, [0])
    signed, absolute = (found[f"AOPC | DecompX{how}"] for how in ("", ", unsigned"))
    assert signed != absolute
    for key, values in found.items():
        assert values[1] == pytest.approx(alone[key][0], abs=1e-4)
    for table in CONFIG["published"].values():
        for metric, scores in table.items():
            for name in scores:
                assert name in CONFIG["methods"]
                if metric != command.PREDICTION:
                    assert f"{metric} | {name}" in found


def test_baselines_have_no_sign_as_in_the_papers_table():
    own = case()
    inputs = own.parts.held_out.batch([0]).inputs
    for name, negative in {
        "Grad x Input": False,
        "IG": False,
        "DecompX": True,
        "IG, signed": True,
    }.items():
        scores, _ = run.explained(own, CONFIG["methods"][name], inputs, 0)
        assert bool((scores < 0).any()) == negative


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.2, [0, 3, 5]), (0.5, [0, 1, 3, 5]), (1.0, [0, 1, 2, 3, 4, 5])],
)
def test_a_rationale_is_the_highest_scores_in_their_order(share, kept):
    scores = torch.tensor([9.0, 2.0, -5.0, 3.0, 1.0, 9.0, 99.0])
    assert rationales.rationale(scores, [1, 0, 0, 0, 0, 1], share) == kept


SMALL = {**CONFIG["rationale"], "train": 4, "test": 3, "epochs": 1, "seeds": [0, 1]}


def test_a_new_model_learns_from_rationales_alone():
    own = case()
    config = {**CONFIG, "rationale": SMALL}
    before = {k: v.clone() for k, v in own.model.state_dict().items()}
    found = rationales.performance(config, own, 0.2, "Random")
    assert found.shape == (3,)
    each = [
        rationales.performance(
            {**CONFIG, "rationale": {**SMALL, "seeds": [seed]}}, own, 0.2, "Random"
        )
        for seed in SMALL["seeds"]
    ]
    assert set(torch.cat(each).tolist()) <= {0.0, 1.0}
    assert_close(found, (each[0] + each[1]) / 2)
    assert all(torch.equal(v, before[k]) for k, v in own.model.state_dict().items())
    short = rationales.extracted(
        config, own, own.parts.train, [1, 3], CONFIG["methods"]["Random"], 0.2
    )
    assert [len(row["input_ids"]) for row in short.rows] == [3, 3]
    assert short.labels.tolist() == [0, 1]


def test_rationales_are_taken_up_method_by_method(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "WORK", tmp_path)
    asked = []

    def performance(config, case, share, name):
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return torch.tensor([len(name), share])

    monkeypatch.setattr(command, "performance", performance)
    methods = list(CONFIG["published"]["SST-2"][command.PREDICTION])
    with pytest.raises(KeyboardInterrupt):
        command.rationales("sst2-bert", CONFIG, case(), None)
    found = command.rationales("sst2-bert", CONFIG, case(), 0)
    assert list(found) == methods[:2]
    found = command.rationales("sst2-bert", CONFIG, case(), None)
    assert asked == [*methods[:2], *methods[2:3], *methods[2:]]
    for name in methods:
        assert found[name].tolist() == pytest.approx([len(name), 0.2])


def qnli(folder, number):
    import pandas

    folder.mkdir(parents=True)
    pandas.DataFrame({
        "question": [f"what is {i} ?" for i in range(number)],
        "sentence": [f"it is {i} ." for i in range(number)],
        "label": [data.ENTAILS[i % 2] for i in range(number)],
    }).to_parquet(folder / "dev.parquet")


def test_questions_are_held_out(tmp_path, monkeypatch):
    monkeypatch.setitem(data.HELD_OUT, "qnli", 5)
    monkeypatch.setitem(data.CHOOSE, "qnli", 3)
    qnli(tmp_path / "qnli", 20)
    _, tokenizer = embedded()
    parts = data.read("qnli", tmp_path, tokenizer, 0)
    kinds = [{tuple(row["input_ids"]) for row in part.rows} for part in parts]
    assert [len(kind) for kind in kinds] == [12, 3, 5]
    assert not kinds[0] & kinds[1] | kinds[0] & kinds[2] | kinds[1] & kinds[2]
    parted = parts.held_out.rows[0]["input_ids"].count(tokenizer.sep_token_id)
    assert parted == 2
    assert sum(len(b.labels) for b in parts.train.batches(5)) == 12


@pytest.mark.parametrize("name", train.RUNS)
def test_a_model_is_trained_and_saved(name, tmp_path, monkeypatch):
    from transformers import AutoModelForSequenceClassification

    monkeypatch.setitem(data.HELD_OUT, "qnli", 5)
    for task in data.CHOOSE:
        monkeypatch.setitem(data.CHOOSE, task, 3)
    base = Path(sentiment.__file__).parent
    for model in ("sst2-bert-4l128", "sst2-minilm-l6"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / model).symlink_to(base)
    qnli(tmp_path / "data" / "qnli", 20)
    import pandas

    (tmp_path / "data" / "sst2").mkdir()
    for part, number in (("train", 12), ("dev", 4)):
        frame = pandas.DataFrame({
            "sentence": [f"film {i}" for i in range(number)],
            "label": [i % 2 for i in range(number)],
        })
        frame.to_parquet(tmp_path / "data" / "sst2" / f"{part}.parquet")
    train.train(name, tmp_path, tmp_path / "out", Settings(1, 4, 1e-3))
    about = json.loads((tmp_path / "out" / "train_info.json").read_text("utf-8"))
    assert about["task"] == train.RUNS[name][0]
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert again.base_model_prefix == ("roberta" if "roberta" in name else "bert")


def test_the_page_shows_the_committed_results():
    page = (report.HERE / "README.md").read_text(encoding="utf-8")
    assert report.REPORT.table() in page
