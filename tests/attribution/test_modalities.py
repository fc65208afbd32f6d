"""Every modality: all content is read, in shapes that people know, and adds up."""

import warnings

import pytest
import torch
import transformers as t
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hand_built import calm
from lrp_hooks import ArgumentError, explain, instrument
from lrp_hooks.attribution.content import content_of
from modalities import CASES, GRID, B, model_of, noise, pairwise
from strategies import seeds


@pytest.fixture(scope="module", params=CASES)
def found(request):
    """A case with its model, its inputs and what is found of them by default."""
    case = CASES[request.param]
    model = model_of(case)
    inputs = case.inputs(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with instrument(model) as lrp:
            relevance = lrp.attribute(inputs, case.target)
    return case, model, inputs, relevance


def by_name(case, scores):
    """Scores, or values, by the name of the input, also of one."""
    return scores if isinstance(scores, dict) else dict.fromkeys(case.scores, scores)


def test_what_is_read_has_the_shape_that_people_expect(found):
    case, _, inputs, relevance = found
    scores = by_name(case, relevance.scores)
    assert {name: tuple(part.shape) for name, part in scores.items()} == case.scores
    for name, values in by_name(case, relevance.values).items():
        shape = inputs[name].shape
        assert values.shape[: len(shape)] == shape


def test_rows_add_up(found):
    case, _, _, relevance = found
    scores = by_name(case, relevance.scores).values()
    sums = sum(part.flatten(1).sum(1) for part in scores)
    ledger = relevance.ledger
    torch.testing.assert_close(sums, ledger.inputs)
    torch.testing.assert_close(sums + sum(ledger.sources.values()), ledger.output)
    assert float(ledger.error.max()) < 1e-12


def test_relevance_comes_to_every_input(found):
    case, _, _, relevance = found
    for part in by_name(case, relevance.scores).values():
        assert (part.flatten(1).abs().sum(1) > 0).all()


def test_constants_have_names_that_people_know(found):
    _, model, inputs, relevance = found
    known = {n for n, _ in (*model.named_parameters(), *model.named_buffers())}
    known |= set(inputs)
    tables = {f"{n}.{k}" for n, m in model.named_modules() for k in vars(m)}
    for name in relevance.ledger.sources:
        leaf = name.rpartition(".")[2]
        assert leaf not in {"constant", "cat", "concat", "stack"}
        # A number that is added, and a series' own scale, have their makers'.
        assert name in known | tables or leaf in {"add", "log1p", "zeros_like"}, name


@pytest.mark.parametrize("name", ["deit", "ast", "yolos", "dinov2-registers"])
def test_tokens_of_the_model_have_a_line_each(name):
    """What each brings is its value times its gradient."""
    case = CASES[name]
    model = model_of(case)
    inputs = case.inputs(model)
    with instrument(model, "gradient") as lrp:
        sources = lrp.attribute(inputs, lambda o: o.logits.flatten(1)[:, 0]).ledger
    model(**inputs).logits.flatten(1)[:, 0].sum().backward()
    tokens = {n: p for n, p in model.named_parameters() if "_token" in n}
    tokens = {n: p for n, p in tokens.items() if p.grad is not None}
    assert len(tokens) >= 2
    for token, parameter in tokens.items():
        wanted = (parameter * parameter.grad).sum().detach()
        torch.testing.assert_close(sources.sources[token].sum(), wanted)


def test_the_plain_gradient_is_autograds_own(found):
    case, model, inputs, _ = found
    floats = {n: v.clone() for n, v in inputs.items() if n in case.scores}
    floats = {n: v.requires_grad_() for n, v in floats.items() if v.is_floating_point()}
    with instrument(model, "gradient") as lrp:
        plain = lrp.attribute(inputs, case.target)
    output = model(**{**inputs, **floats})
    if callable(plain.target):
        explained = plain.target(output).sum()
    elif case.target is None:
        logits = output.logits
        logits = logits[:, -1] if logits.ndim == 3 else logits
        explained = logits.gather(1, plain.target[:, None]).sum()
    grads = torch.autograd.grad(explained, list(floats.values()))
    values = by_name(case, plain.values)
    for (name, value), grad in zip(floats.items(), grads, strict=True):
        torch.testing.assert_close(values[name], (value * grad).detach())


def one(inputs, row):
    """The inputs of one example; of merged patches its share."""
    frames, height, width = GRID
    merged = frames * height * width
    cut = {n: v[row : row + 1] for n, v in inputs.items()}
    if "image_grid_thw" in inputs:
        own = slice(row * merged, (row + 1) * merged)
        cut["pixel_values"] = inputs["pixel_values"][own]
    return cut


def test_a_batch_is_its_examples_one_by_one(found):
    case, model, inputs, relevance = found
    scores = by_name(case, relevance.scores)
    with instrument(model) as lrp:
        for row in range(B):
            alone = lrp.attribute(one(inputs, row), case.target)
            for name, part in by_name(case, alone.scores).items():
                torch.testing.assert_close(part[0], scores[name][row])


def test_an_input_is_read_by_its_name(found):
    case, model, inputs, relevance = found
    scores = by_name(case, relevance.scores)
    with instrument(model) as lrp:
        for name in case.scores:
            # PaliGemma looks other ids up than it is given; a product of two towers is
            # shared by halves only where both are read.
            others = case.kind.startswith("PaliGemma") and name == "input_ids"
            if others or case.target is pairwise:
                continue
            alone = lrp.attribute(inputs, case.target, wrt=name)
            torch.testing.assert_close(alone.scores, scores[name])


@pytest.mark.parametrize("name", ["qwen2-vl", "siglip2"])
def test_the_score_of_a_pixel_is_at_its_place(name):
    """Patches cut out of an image as processors do, and pixels marked in it."""
    case = CASES[name]
    model = model_of(case)
    inputs = case.inputs(model)
    rows, columns = GRID[1:] if name == "qwen2-vl" else (2, 3)
    vision = model.config.vision_config
    size = vision.patch_size
    numbers = torch.arange(rows * size * columns * size).double()
    image = numbers.reshape(rows * size, columns * size)
    blocks = image.reshape(rows, size, columns, size).transpose(1, 2)
    with instrument(model) as lrp:
        relevance = lrp.attribute(inputs, case.target)
    values = relevance.values["pixel_values"]
    if name == "qwen2-vl":
        merge = vision.spatial_merge_size
        cut = blocks.reshape(rows // merge, merge, columns // merge, merge, size, size)
        places = cut.transpose(1, 2).reshape(rows * columns, 1, size * size)
        own = values[: rows * columns].reshape(rows * columns, -1, size * size).sum(1)
    else:
        places = blocks.reshape(rows * columns, size * size)
        own = values[0].reshape(rows * columns, size * size, -1).sum(2)
    wanted = torch.zeros(image.numel(), dtype=torch.float64)
    wanted[places.long().flatten()] = own.flatten()
    torch.testing.assert_close(
        relevance.scores["pixel_values"][0], wanted.reshape(image.shape)
    )


class Album(nn.Module):
    """Adds to each text the pictures that lie behind one another in one tensor."""

    def __init__(self, counts, seed):
        super().__init__()
        torch.default_generator.manual_seed(seed)
        self.counts = counts
        self.table = nn.Embedding(9, 3).double()
        self.weight = nn.Parameter(noise(4, seed=seed))

    def forward(self, input_ids, pixel_values):
        text = self.table(input_ids).sum((1, 2))
        own = (pixel_values * self.weight).sum(1).split(self.counts)
        return (text + torch.stack([part.sum() for part in own]))[:, None]


@calm
@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(sum))
def test_what_lies_behind_one_another_is_given_back(seed, counts):
    pictures = noise(sum(counts), 4, seed=seed)
    model = Album(counts, seed)
    ids = torch.arange(2 * len(counts)).reshape(-1, 2) % 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with instrument(model) as lrp:
            found = lrp.attribute({"input_ids": ids, "pixel_values": pictures}, 0)
    each = (pictures * model.weight.detach()).sum(1).split(counts)
    wanted = torch.zeros(len(counts), max(counts), dtype=torch.float64)
    for row, own in zip(wanted, each, strict=True):
        row[: len(own)] = own
    scores = found.scores["pixel_values"]
    of_each = scores.reshape(len(counts), max(counts), -1).sum(2)
    torch.testing.assert_close(of_each, wanted)
    assert found.values["pixel_values"].shape == pictures.shape
    assert float(found.ledger.error.max()) < 1e-10


def test_a_picture_without_relevance_has_its_place():
    pictures = noise(4, 4)
    pictures[1] = pictures[3] = 0
    model = Album([3, 1], 0)
    ids = torch.tensor([[1, 2], [3, 4]])
    with instrument(model) as lrp:
        found = lrp.attribute({"input_ids": ids, "pixel_values": pictures}, 0)
    own = (pictures * model.weight.detach()).sum(1)
    torch.testing.assert_close(found.scores["pixel_values"].sum(1)[0], own[:3].sum())
    assert found.scores["pixel_values"][0, 1] == 0


def test_rows_that_examples_share_are_each_examples_own():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4).double()

        def forward(self, input_ids, classes):
            return self.table(input_ids).mean(1) @ classes.T

    torch.manual_seed(0)
    model, ids, classes = Shared(), torch.tensor([[1, 5], [7, 2]]), noise(3, 4)
    with instrument(model) as lrp:
        found = lrp.attribute({"input_ids": ids, "classes": classes}, [0, 2])
    own = model.table(ids).mean(1).detach()
    wanted = torch.zeros(2, 3, dtype=torch.float64)
    wanted[0, 0], wanted[1, 2] = own[0] @ classes[0] / 2, own[1] @ classes[2] / 2
    torch.testing.assert_close(found.scores["classes"], wanted)
    assert float(found.ledger.error.max()) < 1e-10


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("pixel_values", True),
        ("pixel_mask", False),
        ("attention_mask", False),
        ("visual_feats", True),
        ("visual_pos", False),
        ("position_ids", False),
        ("past_values", True),
        ("past_time_features", False),
        ("future_values", False),
        ("speaker_embeddings", True),
        ("bbox", False),
        ("decoder_inputs_embeds", False),
        ("labels", False),
        ("timestep", False),
        ("composition", True),
        ("node_features", True),
    ],
)
def test_content_is_what_is_no_mask_and_no_position(name, read):
    tensors = {"input_ids": torch.ones(1, 2).long(), name: torch.ones(1, 2)}
    assert (name in content_of(tensors, "input_ids")) is read


def test_patches_are_the_models_own():
    case = CASES["llava"]
    model = model_of(case)
    size = model.config.vision_config.patch_size
    with instrument(model) as lrp:
        found = lrp.attribute(case.inputs(model))
    assert found.meta["patches"] == {"pixel_values": [size, size]}
    folded = found.patches()
    pixels, patches = found.scores["pixel_values"], folded.scores["pixel_values"]
    cut = pixels.unfold(1, size, size).unfold(2, size, size)
    torch.testing.assert_close(patches, cut.sum((3, 4)))
    assert folded.scores["input_ids"] is found.scores["input_ids"]
    torch.testing.assert_close(
        found.patches(2 * size).scores["pixel_values"].sum(), pixels.sum()
    )


@pytest.mark.parametrize(("size", "why"), [(5, "does not divide"), (16, "cuts across")])
def test_patches_that_are_not_the_models_are_named(size, why):
    config = t.ViTConfig(
        image_size=48, patch_size=12, hidden_size=16, num_hidden_layers=1
    )
    config.num_attention_heads, config.intermediate_size = 2, 16
    model = t.ViTForImageClassification(config).double().eval()
    with instrument(model) as lrp:
        found = lrp.attribute({"pixel_values": noise(1, 3, 48, 48)})
    with pytest.raises(ArgumentError, match=f"size={size} {why}.*are 12 x 12"):
        found.patches(size)
    assert found.patches().scores.shape == (1, 4, 4)


def test_frames_of_a_video_have_patches():
    case = CASES["videomae"]
    model = model_of(case)
    with instrument(model) as lrp:
        found = lrp.attribute(case.inputs(model))
    frames = found.patches().scores
    size = model.config.patch_size
    assert frames.shape == (B, 16, 32 // size, 32 // size)
    torch.testing.assert_close(frames.sum((2, 3)), found.scores.sum((2, 3)))


@pytest.mark.parametrize(
    "name", ["videomae", "whisper", "patchtst", "llava", "idefics3"]
)
def test_gradients_have_the_places_of_relevance(name):
    case = CASES[name]
    model = model_of(case)
    inputs = case.inputs(model)
    relevance = explain(model, inputs, target=case.target)
    sums = explain(model, inputs, "saliency", target=case.target, norm="sum")
    found = by_name(case, sums.scores)
    for read, part in by_name(case, relevance.scores).items():
        assert found[read].shape == part.shape
        assert bool((found[read] != 0).any())


def test_a_text_without_a_token_for_its_image():
    case = CASES["llava"]
    model = model_of(case)
    inputs = case.inputs(model)
    inputs["input_ids"] = torch.full_like(inputs["input_ids"], 7)
    lacks = r"input_ids without a token that stands for pixel_values \(image_token_"
    with pytest.raises(ArgumentError, match=lacks):
        explain(model, inputs)
