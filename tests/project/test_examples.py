"""The example scripts run as their first lines say."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from lrp_hooks import Contrast, instrument
from shared_models import sentiment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def bias():
    return runpy.run_path(str(EXAMPLES / "bias_case_study.py"))


def test_names_are_explained_one_by_one(bias):
    """A name's relevance is that of its tokens, counted by hand in each template."""
    model, tokenizer = sentiment()
    relevance, output = bias["measure"](model, tokenizer, "mary")
    for row, template in enumerate(bias["TEMPLATES"]):
        batch = tokenizer(template.format("mary"), return_tensors="pt")
        with instrument(model) as lrp:
            found = lrp.attribute(batch, target=Contrast(1, 0))
        start = template.index("{}")
        own = [
            t
            for t in range(batch["input_ids"].shape[1])
            if (chars := batch.token_to_chars(t)) and start <= chars.start < start + 4
        ]
        wanted = found.scores[0, own].sum().item()
        assert own and relevance[row] == pytest.approx(wanted, abs=1e-5)
        assert output[row] == pytest.approx(found.output.item(), abs=1e-5)


def test_the_study_prints_draws_and_writes(bias, tmp_path, capsys, monkeypatch):
    few = {"one": ("mary", "john"), "other": ("he",)}
    monkeypatch.setitem(bias["main"].__globals__, "GROUPS", few)
    plot, written = tmp_path / "bias.png", tmp_path / "bias.json"
    bias["main"](["--plot", str(plot), "--json", str(written)])
    effects = json.loads(written.read_text())
    assert [effect["name"] for effect in effects] == ["mary", "john", "he"]
    exchanged = torch.tensor([effect["exchanged"] for effect in effects])
    assert exchanged.sum().abs() < 1e-4  # less the mean of all names
    assert all(e["low"] <= e["relevance"] <= e["high"] for e in effects)
    printed = capsys.readouterr().out
    assert all(f"{e['relevance']:+9.3f}" in printed for e in effects)
    assert plot.read_bytes().startswith(b"\x89PNG")
