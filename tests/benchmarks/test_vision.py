"""The benchmark of images: resolutions, what is read, metrics, and the tables."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from benchmarks.faithfulness.training import vit
from benchmarks.faithfulness.vision import reading, report, run
from folders import SHARED, needs_shared
from lrp_hooks import explain
from lrp_hooks.results.relevance import Relevance

CONFIG = json.loads((run.HERE / "config.json").read_text(encoding="utf-8"))
DEEP = run.HERE / "vit-8l-mnist"
SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
TARGET = torch.tensor([3, 1, 4])


def tiny():
    """A ViT of two layers on digits' shape, with biases that are not 0."""
    model = vit.build(0, num_hidden_layers=2, **SMALL).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def digits(number=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(number, 1, 28, 28, generator=generator) - 1


def small_config(**changes):
    return CONFIG | {"images": 3, "batch": 2} | changes


def images(model):
    return run.Images(model, vit.Digits(digits(), TARGET), {"black": -1.0, "mean": 0.1})


@given(
    cells=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    side=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_patches_conserve_the_relevance_of_their_pixels(cells, side, seed):
    height, width = cells
    generator = torch.Generator().manual_seed(seed)
    shape = (2, height * side, width * side)
    pixels = torch.randn(shape, generator=generator).double()
    found = reading.patch_sums(pixels, side)
    assert found.shape == (2, height, width)
    for row in range(height):
        for column in range(width):
            down = slice(row * side, (row + 1) * side)
            right = slice(column * side, (column + 1) * side)
            assert_close(found[:, row, column], pixels[:, down, right].sum((1, 2)))
    assert_close(found.sum((1, 2)), pixels.sum((1, 2)))


def test_tokens_stand_where_their_patches_do():
    model = tiny()
    for row, column in ((0, 0), (0, 3), (2, 1), (3, 3)):
        image = torch.zeros(1, 1, 28, 28)
        image[0, 0, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] = 1
        with torch.no_grad():
            changed = model.vit.embeddings(image) - model.vit.embeddings(image * 0)
        found = reading.resolutions(changed.norm(dim=-1), 7, by_patches=False)
        assert list(found) == ["patches"]
        assert found["patches"][0].nonzero().tolist() == [[row, column]]


def test_the_wrapped_model_says_the_same_of_brightness():
    model, x = tiny(), digits()
    with torch.no_grad():
        assert_close(reading.FromBlack(model)(x + 1).logits, model(x).logits)


def test_relevance_from_black_is_the_gradient_times_the_distance():
    model, x = tiny(), digits()
    leaf = x.clone().requires_grad_()
    chosen = model(leaf).logits.gather(1, TARGET[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, leaf)
    spec = {"method": "lrp", "options": {"rules": "gradient"}}
    for read, distance in (("pixels", x), ("pixels from black", x + 1)):
        found = reading.score(model, spec, read, x, TARGET, 2).scores
        assert_close(found["pixels"].float(), (gradient * distance)[:, 0])
        assert_close(found["patches"].sum((1, 2)), found["pixels"].sum((1, 2)))


def test_black_is_a_source_of_the_ledger():
    wrapped, x = reading.FromBlack(tiny()), digits()
    found = explain(wrapped, {"pixel_values": x + 1}, target=TARGET)
    assert isinstance(found, Relevance)
    assert "black" in found.ledger.sources
    assert found.ledger.error.max() < 1e-5


@pytest.mark.parametrize("completed", [False, True])
def test_tokens_are_read_without_the_class_token(completed):
    model, x = tiny(), digits()
    found = explain(model, {"pixel_values": x}, target=TARGET, wrt="vit.embeddings")
    wanted = found.complete() if completed else found.scores
    assert_close(wanted.sum(1), found.output) if completed else None
    read = "tokens, completed" if completed else "tokens"
    spec = {"method": "lrp", "options": {"rules": "conservative"}}
    scores = reading.score(model, spec, read, x, TARGET, 2).scores
    assert_close(scores["patches"].flatten(1).float(), wanted[:, 1:])


def test_leaving_one_patch_out_makes_it_black():
    model, x = tiny(), digits()
    spec = CONFIG["methods"]["leave one out"]
    found = reading.score(model, spec, spec["reads"][0], x, TARGET, 2).scores
    assert list(found) == ["patches"]
    without = x.clone()
    without[:, :, 7:14, 21:28] = vit.BACKGROUND
    with torch.no_grad():
        lost = (model(x).logits - model(without).logits).gather(1, TARGET[:, None])
    assert_close(found["patches"][:, 1, 3].float(), lost[:, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", CONFIG["methods"])
def test_every_method_scores_patches(method):
    model, spec = tiny(), dict(CONFIG["methods"][method])
    if method in {"integrated gradients", "SmoothGrad"}:
        steps = "n_steps" if method.startswith("integrated") else "n_samples"
        spec["options"] = {steps: 3}
    for read in spec["reads"]:
        found = reading.score(model, spec, read, digits(), TARGET, 2)
        assert found.scores["patches"].shape == (3, 4, 4)
        assert all(s.isfinite().all() for s in found.scores.values())
        by_pixels = read.startswith("pixels") and method != "leave one out"
        assert ("pixels" in found.scores) == by_pixels


def test_completion_moves_no_pixel_before_another():
    # What sources get has no place among pixels: each pixel gets the same share.
    found = explain(tiny(), {"pixel_values": digits()}, target=TARGET)
    given = (found.complete() - found.scores).flatten(1)
    assert_close(given, given[:, :1].expand_as(given), atol=1e-5, rtol=0)
    assert given.abs().min() > 1e-5


def test_metrics_follow_what_is_taken_away():
    model = tiny()
    shown = images(model)
    scores = torch.zeros(3, 4, 4)
    scores[:, 2, 1] = 1
    curve = shown.curves(scores, "black", ["deletion"])["deletion"]
    without = shown.digits.images.clone()
    without[:, :, 14:21, 7:14] = -1
    with torch.no_grad():
        wanted = model(without).logits.double().softmax(1).gather(1, TARGET[:, None])
    # A twentieth of 16 patches is one of them.
    assert_close(curve.values[:, 1], wanted[:, 0], atol=1e-6, rtol=0)
    empty = shown.curves(scores, "mean", ["deletion"])["deletion"].values[:, -1]
    with torch.no_grad():
        grey = model(torch.full((1, 1, 28, 28), 0.1)).logits.double().softmax(1)[0]
    assert_close(empty, grey[TARGET], atol=1e-6, rtol=0)


def test_scores_without_signs_are_not_measured_twice():
    shown, config = images(tiny()), small_config()
    spec = CONFIG["methods"]["LRP ln"] | {"reads": ["tokens", "pixels from black"]}
    signed = run.entry(shown, spec, config)
    kinds = ("black, signed", "mean, signed", "black, absolute")
    rows = (
        "tokens, patches",
        "pixels from black, patches",
        "pixels from black, pixels",
    )
    assert set(signed["metrics"]) == {
        f"{row}, {kind}" for row in rows for kind in kinds
    }
    assert set(signed["milliseconds"]) == {"tokens", "pixels from black"}
    positive = run.entry(shown, CONFIG["methods"]["attention rollout"], config)
    assert set(positive["metrics"]) == {f"tokens, patches, {k}" for k in kinds[:2]}
    every = positive["metrics"]["tokens, patches, black, signed"]
    assert set(every) == set(CONFIG["settings"][0]["metrics"])
    assert every["activation"]["n"] == 3


def test_orderings_read_each_method_where_it_can_be_read():
    names = ("LRP gradient", "attention rollout", "random")
    published = {name: CONFIG["published"][name] for name in names[::-1]}
    shown = images(tiny())
    found = run.compared(shown, small_config(published=published))
    assert list(found) == [
        f"{r}, {f}" for r in run.ORDERED_BY for f in ("black", "mean")
    ]
    wanted = [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    for pairs in found.values():
        assert [(pair["better"], pair["worse"]) for pair in pairs] == wanted
    areas = {}
    for name, read in (
        (names[0], "tokens"),
        (names[1], "tokens"),
        (names[2], "pixels"),
    ):
        spec = CONFIG["methods"][name]
        scores = reading.score(shown.model, spec, read, *shown.digits, 3).scores
        curve = shown.curves(scores["patches"], "mean", ["activation"])["activation"]
        areas[name] = float(curve.area.mean())
    for pair in found["tokens, mean"]:
        more = areas[pair["better"]] - areas[pair["worse"]]
        assert pair["advantage"] == pytest.approx(more, abs=1e-4)
    assert found["tokens, black"][2] == found["pixels, black"][2]  # attention, random
    assert found["tokens, black"][0] != found["pixels, black"][0]


def test_orderings_are_told_with_their_verdicts():
    config = {"published": {"c": 0.1, "a": 0.9, "b": 0.5}}
    pairs = [
        {"better": "a", "worse": "b", "advantage": 0.25, "low": 0.125, "high": 0.375},
        {"better": "a", "worse": "c", "advantage": 0.0, "low": -0.5, "high": 0.5},
        {"better": "b", "worse": "c", "advantage": -0.25, "low": -0.5, "high": -0.125},
    ]
    models = {"vit": {"orderings": {"tokens, black": pairs}}}
    shown = report.orderings({"config": config, "models": models})
    assert "a (0.900) > b (0.500) > c (0.100)" in shown
    assert "| model; read at, replaced by | a > b | b > c | of all pairs |" in shown
    assert (
        "| vit; tokens, black | 0.250 [0.125, 0.375] ahead | "
        "-0.250 [-0.500, -0.125] behind | 1 ahead, 1 open, 1 behind |"
    ) in shown


def committed():
    return json.loads(report.RESULTS.read_text(encoding="utf-8"))


def test_results_are_those_of_the_configuration():
    results = committed()
    assert results["config"] == CONFIG
    assert list(results["models"]) == list(CONFIG["models"])
    for part in results["models"].values():
        assert list(part["methods"]) == list(CONFIG["methods"])


def test_the_table_shows_the_committed_numbers():
    results = committed()
    shown = report.table(results)
    lines = shown.splitlines()
    found = 0
    for part in results["models"].values():
        for method, entry in part["methods"].items():
            for row, metrics in entry["metrics"].items():
                if not row.endswith("black, signed"):
                    continue
                read, cells = row.removesuffix(", black, signed").rsplit(", ", 1)
                auac, mse = metrics["activation"], metrics["pruning"]["mean"]
                start = (
                    f"| {method}; {read} | {auac['mean']:.3f} [{auac['low']:.3f}, "
                    f"{auac['high']:.3f}] | {mse:.3f} |"
                )
                assert any(line.startswith(start) for line in lines), (row, cells)
                found += 1
    rows = [line for line in lines if line.startswith("| ") and "; " in line]
    heads = [line for line in rows if "read at" in line]
    orders = [line for line in rows if line.count("ahead") and line.startswith("| vit")]
    assert len(rows) - len(heads) - len(orders) == found
    areas = [line.split("|")[2] for line in rows]
    assert areas[1] >= areas[2]  # the best on top


def test_the_deep_vit_is_deep_small_and_good():
    about = json.loads((DEEP / "train_info.json").read_text(encoding="utf-8"))
    assert about["held_out"]["accuracy"] > 0.96
    assert about["held_out"]["number"] == 2000
    model = run.load("vit-8l-mnist", Path("nowhere"))
    assert model.config.num_hidden_layers >= 8
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(f.stat().st_size for f in DEEP.iterdir()) < 2e6


@needs_shared
def test_the_deep_vit_reads_digits():
    model = run.load("vit-8l-mnist", Path("nowhere"))
    every = vit.read(SHARED / "data" / "mnist10k")
    unseen = torch.randperm(10000, generator=torch.Generator().manual_seed(0))[8000:]
    with torch.no_grad():
        right = model(every.images[unseen]).logits.argmax(1) == every.labels[unseen]
    accuracy = round(float(right.double().mean()), 4)
    about = json.loads((DEEP / "train_info.json").read_text(encoding="utf-8"))
    assert accuracy == pytest.approx(about["held_out"]["accuracy"], abs=0.0011)
