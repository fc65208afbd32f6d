"""A planted object, tone and word is found; a sound that comes later is found later."""

import pytest
import torch
import transformers as t
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hand_built import calm
from lrp_hooks import explain_generation, instrument
from modalities import noise

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 64, "initializer_range": 0.1}
SIDE, PATCH = 16, 4


def trained(model, draw, loss_of, steps=150, seed=0):
    """Train on fresh examples."""
    made = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        loss = loss_of(model, *draw(32, made))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval().double()


def objects(count, made):
    """Grey pictures with a square, bright or dark, on one patch; which, and where."""
    pixels = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=made)
    labels = torch.randint(2, (count,), generator=made)
    places = torch.randint(4, (count, 2), generator=made)
    for picture, label, (row, column) in zip(pixels, labels, places, strict=True):
        down, across = (slice(p * PATCH, (p + 1) * PATCH) for p in (row, column))
        picture[:, down, across] += 2.0 * (2 * label - 1)
    return pixels, labels, places


@pytest.fixture(scope="session")
def watcher():
    torch.manual_seed(0)
    config = t.ViTConfig(image_size=SIDE, patch_size=PATCH, **SIZES)
    model = t.ViTForImageClassification(config)

    def loss_of(model, pixels, labels, places):
        return nn.functional.cross_entropy(model(pixels).logits, labels)

    return trained(model, objects, loss_of)


def found_at(patches, places):
    """The share of pictures whose strongest patch is the planted one."""
    best = patches.flatten(1).argmax(1)
    return ((best // 4 == places[:, 0]) & (best % 4 == places[:, 1])).double().mean()


def test_the_planted_object_is_the_strongest_patch(watcher):
    pixels, labels, places = objects(64, torch.Generator().manual_seed(7))
    with instrument(watcher) as lrp:
        found = lrp.attribute({"pixel_values": pixels.double()}, labels)
    right = watcher(pixels.double()).logits.argmax(1) == labels
    assert right.double().mean() > 0.9
    assert found_at(found.patches().scores[right], places[right]) > 0.9


QUESTIONS = (5, 6)
"""Asks what the object is, or what the word in the text is."""


def asked(count, made):
    """A picture, a question and a word; the answer is the object's or the word's."""
    pixels, labels, places = objects(count, made)
    question = torch.randint(2, (count,), generator=made)
    word = torch.randint(2, (count,), generator=made)
    start = torch.full((count, 16), 3)
    text = torch.stack([8 + word, 5 + question], 1)
    answers = torch.where(question == 0, 10 + labels, 12 + word)
    return torch.cat([start, text], 1), pixels, answers, places, question


@pytest.fixture(scope="session")
def talker():
    torch.manual_seed(0)
    text = t.LlamaConfig(vocab_size=32, max_position_embeddings=32, **SIZES)
    vision = t.CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, **SIZES)
    config = t.LlavaConfig(text_config=text, vision_config=vision, image_token_id=3)

    def loss_of(model, ids, pixels, answers, places, question):
        logits = model(input_ids=ids, pixel_values=pixels).logits[:, -1]
        return nn.functional.cross_entropy(logits, answers)

    return trained(t.LlavaForConditionalGeneration(config), asked, loss_of, steps=220)


def test_a_question_about_the_picture_is_answered_by_the_object_else_by_the_word(
    talker,
):
    ids, pixels, answers, places, question = asked(64, torch.Generator().manual_seed(7))
    batch = {"input_ids": ids, "pixel_values": pixels.double()}
    right = talker(**batch).logits[:, -1].argmax(1) == answers
    assert right.double().mean() > 0.9
    with instrument(talker) as lrp:
        found = lrp.attribute(batch, answers)
    patches = found.patches().scores["pixel_values"]
    of_picture = right & (question == 0)
    assert found_at(patches[of_picture], places[of_picture]) > 0.9
    word = found.scores["input_ids"][:, 16].abs()
    of_word = right & (question == 1)
    strength = patches.flatten(1).abs().amax(1)
    assert (word > strength)[of_word].double().mean() > 0.9
    assert (word > strength)[of_picture].double().mean() < 0.5


BANDS, FRAMES, TONE = 8, 32, 4


def tones(count, made):
    """Noise with a chord of some frames, odd or even; which, and when it begins."""
    sound = 0.3 * torch.randn(count, FRAMES, BANDS, generator=made)
    labels = torch.randint(2, (count,), generator=made)
    starts = TONE * torch.randint(FRAMES // TONE, (count,), generator=made)
    for spectrum, label, start in zip(sound, labels, starts, strict=True):
        spectrum[start : start + TONE, int(label) :: 2] += 2.0
    return sound, labels, starts


@pytest.fixture(scope="session")
def listener():
    torch.manual_seed(0)
    config = t.ASTConfig(
        max_length=FRAMES,
        num_mel_bins=BANDS,
        patch_size=4,
        time_stride=4,
        frequency_stride=4,
        num_labels=2,
        **SIZES,
    )

    def loss_of(model, sound, labels, starts):
        return nn.functional.cross_entropy(model(sound).logits, labels)

    return trained(t.ASTForAudioClassification(config), tones, loss_of, steps=200)


def test_the_planted_tone_is_the_loudest_moment(listener):
    sound, labels, starts = tones(64, torch.Generator().manual_seed(7))
    right = listener(sound.double()).logits.argmax(1) == labels
    assert right.double().mean() > 0.9
    with instrument(listener) as lrp:
        found = lrp.attribute({"input_values": sound.double()}, labels)
    assert found.scores.shape == (64, FRAMES)
    moments = found.scores.reshape(64, -1, TONE).sum(2).argmax(1) * TONE
    assert (moments == starts)[right].double().mean() > 0.9


class Ear(nn.Module):
    """Hears a waveform without knowing when: pieces of it, attention, their mean."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pieces = nn.Conv1d(1, 16, 8, stride=8)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, input_values):
        pieces = self.pieces(input_values[:, None]).transpose(1, 2)
        return self.head(self.body(pieces).mean(1))


EAR = Ear().double().eval()


@calm
@given(st.integers(0, 100), st.integers(1, 15))
def test_a_sound_that_comes_later_is_found_later(seed, pieces):
    wave = noise(2, 128, seed=seed)
    with instrument(EAR) as lrp:
        now = lrp.attribute({"input_values": wave}, 1)
        later = lrp.attribute({"input_values": wave.roll(8 * pieces, 1)}, 1)
    torch.testing.assert_close(later.scores, now.scores.roll(8 * pieces, 1))


def test_what_is_written_of_a_picture_names_the_object(talker):
    from generation_models import word_tokenizer

    ids, pixels, answers, places, question = asked(24, torch.Generator().manual_seed(3))
    tokenizer = word_tokenizer([f"w{n}" for n in range(32)])
    hits = []
    for row in range(24):
        batch = {"input_ids": ids[row : row + 1], "pixel_values": pixels[row : row + 1]}
        answer = [int(answers[row])]
        found = explain_generation(talker, tokenizer, batch, continuation=answer)
        if question[row] == 0:
            hits.append(found_at(found.pictures, places[row : row + 1]))
    assert len(hits) > 4 and sum(hits) / len(hits) > 0.8
