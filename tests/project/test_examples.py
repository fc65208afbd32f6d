"""The example scripts run as their first lines say."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from examples_in_text import NUMBER
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


@pytest.fixture(scope="module")
def captioner():
    pytest.importorskip("sklearn")
    return runpy.run_path(str(EXAMPLES / "captioner.py"))


def test_a_picture_has_two_digits_and_says_so(captioner):
    images, labels = captioner["pictures"]()
    generator = torch.Generator().manual_seed(0)
    shown, said = captioner["pair"](images, labels, 50, generator)
    assert shown.shape == (50, 1, 16, 16)
    for picture, caption in zip(shown[:, 0], said, strict=True):
        _, left, *between, right, _ = [captioner["WORDS"][word] for word in caption]
        assert between == ["left", "of"]
        for half, word in ((picture[4:12, :8], left), (picture[4:12, 8:], right)):
            same = labels == captioner["NUMBERS"].index(word)
            assert (images[same] == half).all((1, 2)).any()


def test_a_words_pixels_and_words_add_up(captioner):
    images, labels = captioner["pictures"]()
    model = captioner["train"](images, labels, 2)
    generator = torch.Generator().manual_seed(1)
    shown, _ = captioner["pair"](images, labels, 3, generator)
    said = captioner["write"](model, shown)
    assert said.shape == (3, 6)
    for place in range(1, 6):
        pixels, before, output, error = captioner["explain_word"](
            model, shown, said, place
        )
        assert pixels.shape == (3, 16, 16)
        assert before.shape == (3, place)
        logits = model(pixel_values=shown, decoder_input_ids=said[:, :place]).logits
        assert_close(output, logits[:, -1].amax(1).detach())
        assert (error < 1e-4).all()
    for word in captioner["explain_captions"](model, shown, said):
        assert sum(word.halves) == pytest.approx(1)


def test_a_caption_is_drawn(captioner, tmp_path, capsys):
    plot = tmp_path / "words.png"
    captioner["main"](["--steps", "1", "--plot", str(plot)])
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "second digit" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_runs_and_shows_what_it_says(path):
    nbclient, nbformat = map(pytest.importorskip, ("nbclient", "nbformat"))
    pytest.importorskip("ipykernel")
    stored = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(run, timeout=300, kernel_name="python3").execute()
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    ran = [cell for cell in run.cells if cell.cell_type == "code"]
    for here, there in zip(ran, cells, strict=True):
        assert [*map(shown, printed(here))] == [*map(shown, printed(there))]


def printed(cell):
    """What a cell shows, but for warnings of other libraries."""
    return [output for output in cell.outputs if output.get("name") != "stderr"]


def shown(output):
    """What an output is: its text, numbers aside, or the kinds of picture or page."""
    if output.output_type == "stream":
        return [NUMBER.sub("#", output.text)]
    return sorted(kind for kind in output.data if kind != "text/plain")
