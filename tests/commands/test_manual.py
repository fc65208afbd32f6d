"""The page on the command line: what it says in a shell works, one after the other."""

import logging
from itertools import pairwise

import pytest
import torch
import transformers

from command_line import EMBEDDED
from examples_in_text import blocks
from folders import ROOT
from generation_models import language_model, word_tokenizer
from sound_models import RATE, save_listener, save_wave, tone

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
SHELL = [(kind, code) for kind, code in blocks(PAGE) if kind in {"bash", "text"}]
NAMED = ("classifier", "picture-classifier", "sound-classifier", "language-model")


def save_picture_classifier(folder):
    """Save a vision Transformer of four patches, and a digit for it."""
    image = pytest.importorskip("PIL.Image")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    picture = {"image_size": 8, "patch_size": 4, "num_channels": 3}
    config = transformers.ViTConfig(**sizes, **picture, intermediate_size=8)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(
        folder
    )
    pixels = torch.randint(0, 255, (8, 8), dtype=torch.uint8).numpy()
    image.fromarray(pixels).save(folder.parents[2] / "digit.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which a reader's models lie."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "classifier").symlink_to(EMBEDDED)
    logging.disable(logging.WARNING)
    save_picture_classifier(folder / "path" / "to" / "picture-classifier")
    save_listener(folder / "path" / "to" / "sound-classifier")
    save_wave(folder / "word.wav", tone(RATE), RATE)
    words = language_model()
    words.save_pretrained(folder / "path" / "to" / "language-model")
    word_tokenizer().save_pretrained(folder / "path" / "to" / "language-model")
    logging.disable(logging.NOTSET)
    return folder


def test_every_model_on_the_page_is_one_of_these():
    assert {n for n in NAMED if f"path/to/{n}" in PAGE} == {*NAMED}


def test_the_page_in_a_shell(forks, place):
    for package in ("pandas", "pyarrow", "matplotlib", "shtab", "soundfile"):
        pytest.importorskip(package)
    for (kind, code), (following, said) in pairwise([*SHELL, ("", "")]):
        if kind == "text" or "pip install" in code or "lrp-hooks serve" in code:
            continue
        done = forks.shell("jq() { cat; }\n" + code, place)
        errors = done.stderr.decode()
        assert done.returncode == 0, code + errors
        lines = errors.splitlines(keepends=True)
        shown = [line for line in lines if "made most of the output" not in line]
        assert "".join(shown) == (said if following == "text" else "")
    made = {path.name for path in place.iterdir()}
    assert {"page.html", "figure.png", "scores.json", "explained", "results"} <= made
