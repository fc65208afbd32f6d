"""What did a captioner look at, and what had it written, for each word?

    python examples/captioner.py [--steps N] [--plot FILE]

Layer-wise relevance propagation for image captioning (Sun et al. 2022,
https://arxiv.org/abs/2001.01037), on an encoder-decoder Transformer that is trained
here in about a minute: two digits of scikit-learn's in a picture, one on the left and
one on the right, are told as "three left of seven". Each word of a caption is explained
by the pixels and by the words before it, which one backward pass reads together; with
the constants, a line of the ledger, they add up to the word's logit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lrp_hooks import instrument
from lrp_hooks.render.canvas import require_matplotlib

NUMBERS = "zero one two three four five six seven eight nine".split()
WORDS = ["<pad>", "<s>", "</s>", *NUMBERS, "left", "of"]
START, END, FIRST = 1, 2, 3  # FIRST is "zero"
LEFT, OF = WORDS.index("left"), WORDS.index("of")
SIDE = 16  # pixels; a digit has 8, in the left or the right half
UNSEEN = 200
EARLIER = "decoder.bert.embeddings.word_embeddings"


@dataclass(frozen=True)
class Word:
    """Why a word was written, a mean over pictures.

    Attributes:
        word: Which of the caption's.
        halves: Positive relevance of pixels, the share of the left half and the right.
        pixels: The share of the logit that pixels have.
        before: The share that the words before it have.
        error: The largest error of a ledger.
    """

    word: str
    halves: tuple[float, float]
    pixels: float
    before: float
    error: float


def pictures(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return digits [N, 8, 8], 0 to 1, in a random order, and their labels [N]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits.target), generator=generator)
    return torch.tensor(digits.images).float()[order] / 16, torch.tensor(digits.target)[
        order
    ]


def pair(
    images: Tensor, labels: Tensor, number: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put digits beside each other.

    Args:
        images: Digits ``[N, 8, 8]``.
        labels: ``[N]``.
        number: Of pictures.
        generator: Draws them.

    Returns:
        Pictures ``[B, 1, 16, 16]``, and their captions ``[B, 6]`` with start and end.
    """
    left, right = torch.randint(len(labels), (2, number), generator=generator)
    shown = torch.zeros(number, 1, SIDE, SIDE)
    shown[:, 0, 4:12, :8], shown[:, 0, 4:12, 8:] = images[left], images[right]
    said = torch.tensor([START, FIRST, LEFT, OF, FIRST, END]).repeat(number, 1)
    said[:, 1] += labels[left]
    said[:, 4] += labels[right]
    return shown, said


def build(seed: int = 0) -> nn.Module:
    """Build a ViT that writes through a small BERT."""
    from transformers import (
        BertConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )

    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.1,
    }
    eye = ViTConfig(image_size=SIDE, patch_size=4, num_channels=1, **sizes)
    hand = BertConfig(
        vocab_size=len(WORDS), is_decoder=True, add_cross_attention=True, **sizes
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(eye, hand)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return VisionEncoderDecoderModel(config=config)


def train(images: Tensor, labels: Tensor, steps: int, seed: int = 0) -> nn.Module:
    """Train a captioner.

    Args:
        images: Digits to train on.
        labels: Which they are.
        steps: Of 64 pictures each.
        seed: Of weights and pictures.

    Returns:
        The model in eval mode.
    """
    model, generator = build(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
    for _ in range(steps):
        shown, said = pair(images, labels, 64, generator)
        logits = model(pixel_values=shown, decoder_input_ids=said[:, :-1]).logits
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            logits.flatten(0, 1), said[:, 1:].flatten()
        ).backward()
        optimizer.step()
        rate.step()
    return model.eval()


@torch.no_grad()
def write(model: nn.Module, shown: Tensor) -> Tensor:
    """Write captions word by word, [B, 6], the surest word each."""
    said = torch.full((len(shown), 1), START)
    for _ in range(5):
        logits = model(pixel_values=shown, decoder_input_ids=said).logits
        said = torch.cat([said, logits[:, -1:].argmax(-1)], 1)
    return said


def explain_word(
    model: nn.Module, shown: Tensor, said: Tensor, place: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Explain the word at a place of each caption.

    Args:
        model: The captioner.
        shown: Pictures ``[B, 1, 16, 16]``.
        said: Captions ``[B, 6]``.
        place: From 1 on.

    Returns:
        Relevance of pixels ``[B, 16, 16]`` and of the words before ``[B, place]``, the
        word's logit ``[B]`` and the error of the ledger ``[B]``.
    """
    batch = {"pixel_values": shown, "decoder_input_ids": said[:, :place]}
    with instrument(model) as lrp:
        found = lrp.attribute(batch, said[:, place], wrt=["pixel_values", EARLIER])
    pixels, before = found.scores["pixel_values"], found.scores[EARLIER]
    return pixels, before, found.output, found.ledger.error


def explain_captions(model: nn.Module, shown: Tensor, said: Tensor) -> list[Word]:
    """Explain every word of captions, and average over them.

    Args:
        model: The captioner.
        shown: Pictures.
        said: Their captions.

    Returns:
        One entry a word.
    """
    found = []
    for place, word in enumerate(("first digit", "left", "of", "second digit"), 1):
        pixels, before, output, error = explain_word(model, shown, said, place)
        seen = pixels.clamp(min=0)
        left = (seen[..., : SIDE // 2].sum((1, 2)) / seen.sum((1, 2))).mean()
        share = pixels.sum((1, 2)).mean() / output.mean()
        said_so_far = before.sum(1).mean() / output.mean()
        halves = (float(left), 1 - float(left))
        found.append(
            Word(word, halves, float(share), float(said_so_far), float(error.max()))
        )
    return found


def draw(model: nn.Module, shown: Tensor, said: Tensor, path: Path) -> None:
    """Draw a picture, and what each word of its caption saw in it."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.4), layout="constrained")
    panels = figure.subplots(1, 5)
    panels[0].imshow(1 - shown[0, 0], cmap="gray")
    panels[0].set_title("picture")
    for place, axes in enumerate(panels[1:], 1):
        pixels = explain_word(model, shown[:1], said[:1], place)[0][0]
        most = float(pixels.abs().max())
        axes.imshow(pixels, cmap="coolwarm", vmin=-most, vmax=most)
        axes.set_title(WORDS[int(said[0, place])])
    for axes in panels:
        axes.set_axis_off()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write, explain, print; draw where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--plot", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    images, labels = pictures()
    model = train(images[UNSEEN:], labels[UNSEEN:], chosen.steps)
    generator = torch.Generator().manual_seed(1)
    shown, right = pair(images[:UNSEEN], labels[:UNSEEN], 200, generator)
    said = write(model, shown)
    whole = (said == right).all(1)
    print(
        f"{float(whole.double().mean()):.2f} of 200 captions of unseen digits are right"
    )
    print(f"{'word':14}{'left half':>10}{'right half':>11}{'pixels':>8}{'before':>8}")
    for word in explain_captions(model, shown, said):
        left, beside = word.halves
        numbers = f"{left:10.2f}{beside:11.2f}{word.pixels:8.2f}{word.before:8.2f}"
        print(f"{word.word:14}{numbers}")
    if chosen.plot:
        draw(model, shown, said, chosen.plot)


if __name__ == "__main__":
    main()
