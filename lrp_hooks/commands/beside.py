"""``--image`` and ``--audio``: what a model reads beside a text, or instead of one."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, TextIO

from torch import Tensor, nn

from ..attribution.inputs import is_encoder_decoder
from ..errors import ArgumentError
from ..generation.folding import Clock
from ..results.explanation import Explanation
from ..texts.encoding import encode
from ..texts.illustrated import encode_illustrated
from ..texts.loading import load_model, load_processor, load_tokenizer, takes
from ..texts.pictures import pixels_of, read_picture
from ..texts.prediction import run
from ..texts.sounds import features_of, read_sound
from .waiting import waiting

__all__ = ["Perceived", "Prompt", "check_beside", "has_beside", "perceived", "prompted"]


@dataclass(frozen=True)
class _File:
    """A picture, or a sound."""

    option: str
    path: str

    @property
    def named(self) -> str:
        return f"--{self.option} {self.path!r}"

    @property
    def kind(self) -> str:
        """What makes a model's inputs of it."""
        return "image processor" if self.option == "image" else "feature extractor"


@dataclass(frozen=True)
class Perceived:
    """A picture or a sound, and the model that is to read it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer; None where there is no text.
        inputs: What `explain` takes.
        batch: What the model takes.
        clock: How long a sample or a frame of a sound is.
    """

    model: nn.Module
    tokenizer: Any
    inputs: Any
    batch: dict[str, Any]
    clock: Clock = Clock()

    def timed(self, explanation: Explanation) -> Explanation:
        """Say how long each entry of a sound is, as far as that is known."""
        long = {"samples": self.clock.sample, "frames": self.clock.frame}
        sounds = explanation.meta.get("sounds", {})
        seconds = {name: long.get(kind) for name, kind in sounds.items()}
        known = {name: each for name, each in seconds.items() if each is not None}
        if known:
            explanation.meta["seconds"] = known
        return explanation


@dataclass(frozen=True)
class Prompt:
    """A prompt with a picture or a sound, and the model that goes on behind it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        prompt: What `explain_generation` takes.
        processor: What makes inputs of it, and knows how long a frame is.
    """

    model: nn.Module
    tokenizer: Any
    prompt: Any
    processor: Any


def has_beside(arguments: Namespace) -> bool:
    """Tell whether there is a picture or a sound.

    Args:
        arguments: What the command line says.

    Returns:
        True if there is one.

    Raises:
        ArgumentError: If there are both.
    """
    given = [n for n in ("image", "audio") if getattr(arguments, n) is not None]
    if len(given) > 1:
        raise ArgumentError(
            "--image and --audio are two things to explain. Leave one of them out; in "
            "Python, pass what the model's processor makes of both."
        )
    return bool(given)


def check_beside(arguments: Namespace) -> None:
    """Refuse what does not go with a picture or a sound, before any work.

    Args:
        arguments: What the command line says.

    Raises:
        ArgumentError: If there is no model, or something that goes with texts alone.
    """
    option = _file(arguments).option
    if arguments.model is None:
        reads = {"image": "pictures", "audio": "sounds"}[option]
        raise ArgumentError(
            f"--{option} needs a model that reads {reads}, and the embedded one reads "
            "texts. Pass --model DIR."
        )
    if arguments.text == "-":
        raise ArgumentError(f"--{option} goes with one text or none. Pass TEXT itself.")
    for name in ("text_pair", "stride", "words"):
        if getattr(arguments, name) not in {None, False}:
            given = f"--{name.replace('_', '-')}"
            raise ArgumentError(f"{given} goes with texts alone. Leave it out.")
    _check_reads(_file(arguments), arguments.model, arguments.text)


def _check_reads(file: _File, folder: str, text: str | None) -> None:
    """Refuse a model that takes no such thing, or no text beside it.

    Raises:
        ArgumentError: If it does not.
    """
    if not takes(folder, *_INPUTS[file.option]):
        raise ArgumentError(
            f"the model in {folder!r} takes no {_INPUTS[file.option][0]}. Leave "
            f"--{file.option} out, or name a model that reads such files."
        )
    if text is not None and not takes(folder, "input_ids"):
        raise ArgumentError(
            f"the model in {folder!r} reads no text beside --{file.option}. Leave the "
            "text out."
        )


_INPUTS = {
    "image": ("pixel_values",),
    "audio": ("input_features", "input_values"),
}


def perceived(arguments: Namespace, stderr: TextIO) -> Perceived:
    """Load a model, and make of a picture or a sound what it reads.

    Args:
        arguments: What the command line says.
        stderr: Where to say that loading takes a while.

    Returns:
        Both.

    Raises:
        ArgumentError: If the model writes, which `generate` explains.
    """
    file, folder, text = _file(arguments), arguments.model, arguments.text
    processor = load_processor(folder, file.kind)
    tensors = _tensors(file, processor)
    with waiting(stderr, "loading the model"):
        tokenizer = None if text is None else load_tokenizer(folder)
        model = load_model(folder)
    if file.option == "image":
        found = _seen(model, tokenizer, tensors["pixel_values"], text)
    else:
        words = {} if text is None else encode(model, tokenizer, [text]).batch
        batch = {**tensors, **words}
        found = Perceived(model, tokenizer, batch, batch, Clock.of(processor))
    if text is None and is_encoder_decoder(model):
        raise ArgumentError(
            f"a {type(model).__name__} writes text of what it reads. lrp-hooks "
            f"generate --{file.option} FILE explains each token of it."
        )
    run(model, found.batch)
    return found


def prompted(arguments: Namespace, text: str | None, stderr: TextIO) -> Prompt:
    """Load a model, and put a picture or a sound beside the text of a prompt.

    Args:
        arguments: What the command line says.
        text: The prompt's text; None where a model reads none.
        stderr: Where to say that loading takes a while.

    Returns:
        What `explain_generation` and `explain_answer` take.
    """
    file, folder = _file(arguments), arguments.model
    _check_reads(file, folder, text)
    kind = file.kind if text is None else "processor"
    processor = load_processor(folder, kind)
    prompt: Any
    if text is None:
        prompt = _tensors(file, processor)
    else:
        prompt = _spoken(file, text, processor, arguments.chat)
    with waiting(stderr, "loading the model"):
        model, tokenizer = load_model(folder), load_tokenizer(folder)
    return Prompt(model, tokenizer, prompt, processor)


def _file(arguments: Namespace) -> _File:
    """Return the picture or the sound that is given."""
    option = "image" if arguments.image is not None else "audio"
    return _File(option, getattr(arguments, option))


def _tensors(file: _File, processor: Any) -> dict[str, Tensor]:
    """Make of a picture or a sound what a model reads."""
    if file.option == "image":
        picture = read_picture(file.path, file.named)
        return {"pixel_values": pixels_of(processor, picture, file.named)}
    sound = read_sound(file.path, file.named, getattr(processor, "sampling_rate", None))
    return features_of(processor, sound, file.named)


def _seen(
    model: nn.Module, tokenizer: Any, pixels: Tensor, text: str | None
) -> Perceived:
    """Put a text beside a picture, where there is one."""
    if text is None:
        return Perceived(model, None, pixels, {"pixel_values": pixels})
    encoded = encode_illustrated(model, tokenizer, (pixels, [text]))
    return Perceived(model, tokenizer, (pixels, text), dict(encoded.batch))


def _spoken(file: _File, text: str, processor: Any, chat: bool) -> Any:
    """Return a text with what stands beside it, as a processor takes them."""
    given: dict[str, Any]
    if file.option == "image":
        given = {"images": read_picture(file.path, file.named)}
    else:
        extractor = getattr(processor, "feature_extractor", None)
        rate = getattr(extractor, "sampling_rate", None)
        sound = read_sound(file.path, file.named, rate)
        given = {"audio": sound.samples, "sampling_rate": sound.rate}
    if not chat:
        return {"text": text, **given}
    part = {"type": file.option, file.option: next(iter(given.values()))}
    return [{"role": "user", "content": [part, {"type": "text", "text": text}]}]
