"""``--image`` and ``--audio``: what a model reads beside a text, or instead of one."""

import json
import logging

import numpy as np
import pytest
import torch
import transformers
from scipy.signal import resample_poly

from command_line import EMBEDDED, assert_refused
from generation_models import word_tokenizer
from lrp_hooks import explain, explain_answer, explain_generation
from lrp_hooks.texts.loading import load_model
from sequence_models import sequence_tokenizer
from sound_models import RATE, SECONDS, save_listener, save_wave, save_writer, tone

pytest.importorskip("soundfile")
Image = pytest.importorskip("PIL.Image")

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LAYER = {**SIZES, "intermediate_size": 16}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def json_of(outcome):
    code, out, err = outcome
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return save_listener(tmp_path_factory.mktemp("listener"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return save_writer(tmp_path_factory.mktemp("writer"))


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (8000, 2)])
def test_a_sound(run, tmp_path, listener, rate, channels):
    samples = tone(rate, channels)
    path = save_wave(tmp_path / "tone.wav", samples, rate)
    found = json_of(run("explain", "--audio", path, "--model", listener, "--json", "-"))
    heard = (samples / 32768).mean(1).astype("float32")
    assert len(heard) == rate * SECONDS
    heard = resample_poly(heard, RATE // rate, 1)
    heard = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)
    model = load_model(listener)
    wanted = explain(model, {"input_values": torch.from_numpy(heard)[None].float()})
    scale = float(wanted.scores.abs().max())
    assert np.allclose(found["scores"], wanted.scores[0], atol=1e-3 * scale)
    assert scale > 0
    assert found["audio"] == str(path) and len(found["scores"]) == RATE * SECONDS
    assert found["prediction"]["label"] == found["target"] == wanted.targets[0]


def test_time_is_in_seconds(run, tmp_path, listener):
    path = save_wave(tmp_path / "tone.wav", tone(RATE), RATE)
    sound = ("--audio", path, "--model", listener)
    code, out, _ = run("explain", *sound, "--html", tmp_path / "page.html")
    assert code == 0 and "moments from 0.00 to 0.10 s" in out
    assert "0.10 s" in (tmp_path / "page.html").read_text(encoding="utf-8")
    code, out, _ = run("compare", *sound, "--methods", "lrp,gradient_x_input")
    assert code == 0 and out.count("moments from 0.00 to 0.10 s") == 2


def test_bad_sounds_are_refused(run, tmp_path, listener):
    good = save_wave(tmp_path / "tone.wav", tone(RATE), RATE)
    empty = save_wave(tmp_path / "empty.wav", tone(RATE)[:0], RATE)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")

    def refused(message, *arguments):
        assert_refused(run("explain", *arguments), message)

    model = ("--model", listener)
    refused("no sound of a known format", "--audio", bad, *model)
    refused("has 0 samples", "--audio", empty, *model)
    refused("model that reads sounds.*Pass --model DIR", "--audio", good)
    refused("--image and --audio", "--audio", good, "--image", good, *model)
    refused("goes with texts alone", "--audio", good, "--stride", "2", *model)
    refused("Pass --audio FILE", "a text", *model)


def test_what_is_written_of_a_sound(run, tmp_path, writer):
    samples = tone(RATE)
    path = save_wave(tmp_path / "tone.wav", samples, RATE)
    given = ("--audio", path, "--model", writer)
    asked = run("generate", *given, "--max-new-tokens", 3, "--json", "-")
    found = json_of(asked)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(writer)
    heard = extractor(samples[:, 0] / 32768, sampling_rate=RATE, return_tensors="pt")
    model = load_model(writer)
    wanted = explain_generation(
        model, sequence_tokenizer(), dict(heard), max_new_tokens=3
    )
    assert found["generated"] == wanted.generated
    assert np.allclose(found["scores"], wanted.scores, atol=1e-4)
    assert found["tokens"][:2] == ["0.00 s", "0.01 s"]


def test_what_writes_is_left_to_generate(run, tmp_path, writer):
    path = save_wave(tmp_path / "tone.wav", tone(RATE), RATE)
    refused = run("explain", "--audio", path, "--model", writer)
    assert_refused(refused, "lrp-hooks generate --audio FILE")


@pytest.fixture(scope="module")
def onlooker(tmp_path_factory):
    """A language model that sees, its processor beside it."""
    folder = tmp_path_factory.mktemp("onlooker")
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.image_token = "<image>"
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**LAYER, vocab_size=len(tokenizer)),
        vision_config=transformers.CLIPVisionConfig(
            **LAYER, image_size=8, patch_size=4
        ),
        image_token_id=image,
        vision_feature_select_strategy="default",
    )
    model = transformers.LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    eye = transformers.CLIPImageProcessor(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
    )
    processor = transformers.LlavaProcessor(
        eye,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype="uint8")
    Image.fromarray(pixels).save(folder / "it.png")
    return folder


TEXT = "<image> the capital of France is"


def test_what_is_written_of_a_picture(run, onlooker):
    given = ("--image", onlooker / "it.png", "--model", onlooker)
    asked = run("generate", TEXT, *given, "--max-new-tokens", 2, "--json", "-")
    found = json_of(asked)
    processor = transformers.AutoProcessor.from_pretrained(onlooker)
    with Image.open(onlooker / "it.png") as picture:
        made = processor(text=TEXT, images=picture, return_tensors="pt")
    model = load_model(onlooker)
    wanted = explain_generation(model, processor, made, max_new_tokens=2)
    assert found["generated"] == wanted.generated
    assert np.allclose(found["scores"], wanted.scores, atol=1e-5)
    assert found["tokens"][:4] == [f"patch {y},{x}" for y in (0, 1) for x in (0, 1)]


def test_an_answer_about_a_picture(run, tmp_path, onlooker):
    (tmp_path / "ask.txt").write_text(TEXT)
    (tmp_path / "said.txt").write_text("London")
    given = ("--image", onlooker / "it.png", "--model", onlooker)
    said = ("--prompt", tmp_path / "ask.txt", "--answer", tmp_path / "said.txt")
    options = ("--sources", "words", "--spans", "all", "--json", "-")
    found = json_of(run("answer", *given, *said, *options))
    processor = transformers.AutoProcessor.from_pretrained(onlooker)
    with Image.open(onlooker / "it.png") as picture:
        made = processor(text=TEXT, images=picture, return_tensors="pt")
    wanted = explain_answer(
        load_model(onlooker), processor, made, "London", sources="words", spans="all"
    )
    assert np.allclose(found["scores"], wanted.scores, atol=1e-5)


def test_a_prompt_is_needed(run, onlooker):
    assert_refused(run("generate", "--model", onlooker), "there is no prompt")


def test_a_sound_that_would_be_cut_is_refused(run, tmp_path, writer):
    path = save_wave(tmp_path / "long.wav", np.tile(tone(RATE), (12, 1)), RATE)
    refused = run("generate", "--audio", path, "--model", writer)
    assert_refused(refused, r"lasts 1\.2 s, and the model hears 1\.0 s")


def test_what_hears_alone_takes_no_prompt(run, tmp_path, writer):
    path = save_wave(tmp_path / "tone.wav", tone(RATE), RATE)
    refused = run("generate", "a prompt", "--audio", path, "--model", writer)
    assert_refused(refused, "reads no text beside --audio. Leave the text out")


def test_a_file_that_is_not_there(run, tmp_path, listener):
    asked = run("explain", "--audio", tmp_path / "no.wav", "--model", listener)
    assert_refused(asked, "No such file")


def test_a_model_is_asked_for_what_it_reads(run, tmp_path, listener, onlooker):
    sound = save_wave(tmp_path / "tone.wav", tone(RATE), RATE)
    refused = run("explain", "--audio", sound, "--model", EMBEDDED)
    assert_refused(refused, "takes no input_features. Leave --audio out")
    image = ("--image", onlooker / "it.png")
    refused = run("explain", *image, "--model", EMBEDDED)
    assert_refused(refused, "takes no pixel_values. Leave --image out")
    refused = run("explain", "a text", "--audio", sound, "--model", listener)
    assert_refused(refused, "reads no text beside --audio. Leave the text out")
    refused = run("explain", "--words", "--audio", sound, "--model", listener)
    assert_refused(refused, "--words goes with texts alone")
