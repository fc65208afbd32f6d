"""Targets by task where an output is no class of a whole example: none is silent."""

import warnings

import pytest
import torch
import transformers as t
from torch import nn

from lrp_hooks import TargetError, UnruledWarning, explain, instrument
from modalities import CASES, Case, forecast, model_of, noise, picture, tokens
from towers import TOKENIZER, two_towers

YOLOS = CASES["yolos"]
SEGFORMER = Case("SegformerForSemanticSegmentation", picture, {})
MASKFORMER = Case("MaskFormerForInstanceSegmentation", picture, {})
GLPN = Case("GLPNForDepthEstimation", picture, {})
DPT = Case(
    "DPTForDepthEstimation",
    picture,
    {},
    {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]}
    | {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8},
)
SUPERPOINT = Case(
    "SuperPointForKeypointDetection",
    picture,
    {},
    {"encoder_hidden_sizes": [8, 8, 8, 8], "decoder_hidden_size": 8}
    | {"descriptor_decoder_dim": 8, "border_removal_distance": 1},
)
OWL = Case("OwlViTForObjectDetection", picture, {})


def explained(case, target=None, model=None, **options):
    """The explanation and the model's output; what is explained adds up."""
    model = model or model_of(case)
    inputs = case.inputs(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnruledWarning)
        found = explain(model, inputs, target=target, **options)
    assert float(found.ledger.error.max()) < 1e-10
    with torch.no_grad():
        return found, model(**inputs), model


def test_the_most_confident_box_is_explained_and_named():
    found, output, model = explained(YOLOS)
    sure = output.logits.softmax(-1)[..., :-1]
    for row in range(2):
        best = divmod(int(sure[row].argmax()), sure.shape[2])
        torch.testing.assert_close(found.output[row], output.logits[row][best])
        label = model.config.id2label[best[1]]
        assert found.targets[row] == f"{label} at query {best[0]}"
        x, y, w, h = output.pred_boxes[row, best[0]].tolist()
        box = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2]).clamp(0, 1)
        torch.testing.assert_close(torch.tensor(found.meta["boxes"][row]), box)
    assert found.meta["task"] == "object detection"


def test_attribute_explains_a_box_by_default_and_not_the_last_query():
    model = model_of(YOLOS)
    inputs = YOLOS.inputs(model)
    with instrument(model) as lrp:
        found = lrp.attribute(inputs)
    named, _, _ = explained(YOLOS, model=model)
    assert found.targets == named.targets
    torch.testing.assert_close(found.scores, named.scores)


def test_a_box_is_named_by_its_query_or_its_label():
    _, output, model = explained(YOLOS)
    label = model.config.id2label[1]
    for target in [(7, 1), (7, label), [(7, 1), (7, label)]]:
        found, _, _ = explained(YOLOS, target, model)
        torch.testing.assert_close(found.output, output.logits[:, 7, 1])
    found, _, _ = explained(YOLOS, label, model)
    best = output.logits.softmax(-1)[..., 1].argmax(1)
    torch.testing.assert_close(found.output, output.logits[range(2), best, 1])


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (1, "leaves open which box"),
        ((100, 1), "they are 0 to 99"),
        ((1, 9), "out of range"),
        ("dog", "no label of this model"),
    ],
)
def test_targets_that_are_no_box(target, why):
    with pytest.raises(TargetError, match=why):
        explained(YOLOS, target)


def test_texts_are_the_classes_of_an_open_detector():
    model = model_of(OWL)
    text = tokens(model)["input_ids"]
    inputs = {**picture(model), "input_ids": text.repeat(2, 1)}
    with instrument(model) as lrp:
        found = lrp.attribute(inputs)
    assert all("text " in name and " at query " in name for name in found.targets)
    assert found.scores["input_ids"].shape == (2, 2, text.shape[1])
    sums = sum(part.flatten(1).sum(1) for part in found.scores.values())
    torch.testing.assert_close(sums.float(), found.ledger.inputs)
    assert float(found.ledger.error.max()) < 1e-5


def test_a_mask_of_a_segmentation_has_its_query():
    found, output, _ = explained(MASKFORMER)
    sure = output.class_queries_logits.softmax(-1)[..., :-1]
    best = sure.flatten(1).max(1).indices
    wanted = output.class_queries_logits[..., :-1].flatten(1)[range(2), best]
    torch.testing.assert_close(found.output, wanted)


def test_the_surest_keypoint_is_explained_by_default_and_is_all_constants():
    model = model_of(SUPERPOINT)
    inputs = SUPERPOINT.inputs(model)
    with instrument(model) as lrp:
        found = lrp.attribute(inputs)
    assert not found.ledger.inputs.any()
    torch.testing.assert_close(found.ledger.total, found.output)
    output = model(**inputs)
    sure, place = output.scores.max(1)
    torch.testing.assert_close(found.output, sure)
    for row in range(2):
        x, y = output.keypoints[row, place[row]].tolist()
        assert found.targets[row] == f"keypoint at ({x:.2f}, {y:.2f})"
    with instrument(model, rules="gradient") as lrp:
        assert (lrp.attribute(inputs).scores != 0).any()
    with pytest.raises(TargetError, match="nothing says which of its outputs"):
        explain(model, inputs)


def test_the_largest_region_is_explained_by_default():
    found, output, model = explained(SEGFORMER)
    said = output.logits.argmax(1)
    for row in range(2):
        label = int(said[row].flatten().mode().values)
        wanted = output.logits[row, label][said[row] == label].mean()
        torch.testing.assert_close(found.output[row], wanted)
        assert found.targets[row].startswith(f"{model.config.id2label[label]} in its ")


def test_a_pixel_and_a_mask_of_a_segmentation():
    _, output, model = explained(SEGFORMER)
    tall, wide = 32, 32
    high, broad = output.logits.shape[-2:]
    found, _, _ = explained(SEGFORMER, (1, (20, 11)), model)
    place = 20 * high // tall, 11 * broad // wide
    torch.testing.assert_close(found.output, output.logits[:, 1, place[0], place[1]])
    assert found.targets == [f"{model.config.id2label[1]} at (20, 11)"] * 2
    mask = torch.zeros(tall, wide, dtype=torch.bool)
    mask[:16] = True
    found, _, _ = explained(SEGFORMER, (0, mask), model)
    wanted = output.logits[:, 0, : high // 2].mean((1, 2))
    torch.testing.assert_close(found.output, wanted)


def test_depth_at_a_pixel_and_in_the_mean():
    found, output, model = explained(DPT)
    depth = output.predicted_depth
    torch.testing.assert_close(found.output, depth.mean((1, 2)))
    assert found.targets == ["mean depth"] * 2
    found, _, _ = explained(DPT, (3, 9), model)
    place = 3 * depth.shape[1] // 32, 9 * depth.shape[2] // 32
    torch.testing.assert_close(found.output, depth[:, place[0], place[1]])


def test_a_depth_that_is_a_share_is_told():
    with pytest.raises(UserWarning, match="made by Sigmoid"):
        explained(GLPN)


@pytest.mark.parametrize(
    ("case", "target", "why"),
    [
        (SEGFORMER, (0, (99, 1)), "32 rows and 32 columns"),
        (SEGFORMER, (0, torch.zeros(32, 32)), "not empty"),
        (SEGFORMER, (0, torch.ones(4, 4)), "32 x 32"),
        (GLPN, "near", "must be a pixel"),
    ],
)
def test_places_that_are_none(case, target, why):
    with pytest.raises(TargetError, match=why):
        explained(case, target)


def test_the_clearest_letter_is_heard_at_its_frame():
    case = CASES["wav2vec2-ctc"]
    found, output, model = explained(case)
    sure = output.logits.softmax(-1)
    sure[..., model.config.pad_token_id] = 0
    for row in range(2):
        frame, token = divmod(int(sure[row].argmax()), sure.shape[2])
        assert found.targets[row] == f"token {token} at frame {frame}"
        torch.testing.assert_close(found.output[row], output.logits[row, frame, token])
    found, _, _ = explained(case, (2, 9), model)
    torch.testing.assert_close(found.output, output.logits[:, 2, 9])
    found, _, _ = explained(case, 9, model)
    best = output.logits.softmax(-1)[..., 9].argmax(1)
    torch.testing.assert_close(found.output, output.logits[range(2), best, 9])
    for wrong in [(99, 1), (1, 999), "e"]:
        with pytest.raises(TargetError):
            explained(case, wrong, model)


def test_a_step_of_a_forecast():
    case = CASES["patchtst"]
    found, output, model = explained(case)
    torch.testing.assert_close(found.output, output.prediction_outputs[:, 0, 0])
    assert found.targets == ["step 0 of variable 0"] * 2
    found, _, _ = explained(case, (3, 2), model)
    torch.testing.assert_close(found.output, output.prediction_outputs[:, 3, 2])
    for wrong in [3, (3, 9), (1, 2, 3)]:
        with pytest.raises(TargetError):
            explained(case, wrong, model)


def test_a_step_of_a_distribution_is_its_location():
    case = CASES["time-series"]
    model = model_of(case)
    inputs = forecast(model)
    found = explain(model, inputs, target=2)
    torch.testing.assert_close(found.output, model(**inputs).params[1][:, 2].detach())


def test_tokens_at_positions_of_a_model_of_images_and_texts():
    case = CASES["llava"]
    model = model_of(case)
    inputs = case.inputs(model)
    found = explain(model, inputs, target=[(18, 7), (20, 9)])
    logits = model(**inputs).logits.detach()
    torch.testing.assert_close(
        found.output, torch.stack([logits[0, 18, 7], logits[1, 20, 9]])
    )
    assert found.targets == ["token 7 after 18", "token 9 after 20"]
    assert set(found.scores) == {"input_ids", "pixel_values"}


def test_an_answer_about_an_image_is_a_class():
    found, output, _ = explained(CASES["vilt"])
    torch.testing.assert_close(found.output, output.logits.max(1).values)
    assert found.meta["task"] == "classification"
    assert set(found.scores) == {"input_ids", "pixel_values"}


def test_frames_of_sound_have_labels():
    case = Case("Wav2Vec2ForAudioFrameClassification", CASES["wav2vec2"].inputs, {})
    found, output, _ = explained(case, (2, 1))
    torch.testing.assert_close(found.output, output.logits[:, 2, 1])
    default, _, _ = explained(case)
    assert all(" at " in name for name in default.targets)


def test_every_text_with_every_image():
    model = two_towers(t.CLIPModel, t.CLIPConfig, projection_dim=8)
    pixels = noise(2, 3, 8, 8)
    batch = dict(
        TOKENIZER(["a film", "b c", "so dull"], padding=True, return_tensors="pt")
    )
    batch.pop("token_type_ids", None)
    batch["pixel_values"] = pixels
    with pytest.raises(ValueError, match="target='pairs'"):
        explain(model, batch)
    found = explain(model, batch, target="pairs")
    grid = model(**batch).logits_per_image.detach()
    torch.testing.assert_close(found.output, grid.flatten())
    assert found.targets[:4] == [
        "0 with text 0",
        "0 with text 1",
        "0 with text 2",
        "1 with text 0",
    ]
    sums = sum(part.flatten(1).sum(1) for part in found.scores.values())
    sources = sum(found.ledger.sources.values())
    torch.testing.assert_close(sums + sources, found.output)


def test_other_outputs_of_any_model_are_asked_about():
    class Maps(nn.Module):
        def forward(self, x):
            return x.flatten(2)[..., None].repeat(1, 1, 1, 2)

    with instrument(Maps()) as lrp:
        with pytest.raises(TargetError, match="pass target=a function"):
            lrp.attribute(noise(2, 3, 4, 4))
