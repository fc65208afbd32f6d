"""Train a small Mamba on SST-2: ``python -m benchmarks.faithfulness.training.mamba``.

MambaLRP wants a trained Mamba. This one reads the tokens of ``sst2-bert-4l128``;
phrases of the training file are trained on, others choose the weights, and the dev
sentences are reported.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, MambaConfig, MambaModel, MambaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .batches import split
from .loop import Settings, assess, fit, rounded, save
from .tweets import Texts, Tweets

SEEN, CHOOSE = 8000, 500
SETTINGS = Settings(epochs=2, size=64, lr=3e-3, checks=2)
ARCHITECTURE = {
    "hidden_size": 64,
    "state_size": 8,
    "num_hidden_layers": 2,
    "use_mambapy": False,
}


class MambaClassifier(MambaPreTrainedModel):  # type: ignore[misc]
    """A Mamba whose states are averaged over the text and classified."""

    def __init__(self, config: MambaConfig) -> None:
        """Build the layers."""
        super().__init__(config)
        self.backbone = MambaModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor
    ) -> SequenceClassifierOutput:
        """Classify texts ``[B, T]``, padded on the right."""
        states = self.backbone(input_ids, use_cache=False).last_hidden_state
        kept = attention_mask[..., None].to(states.dtype)
        mean = (states * kept).sum(1) / kept.sum(1)
        return SequenceClassifierOutput(logits=self.classifier(mean))


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, help="sst2-bert-4l128")
    parser.add_argument("--data", type=Path, required=True, help="folder of SST-2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seen", type=int, default=SEEN, help="phrases to train on")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    train(chosen.tokenizer, chosen.data, chosen.out, chosen.seen)


def train(base: Path, data: Path, out: Path, seen: int) -> None:
    """Train one model.

    Args:
        base: The folder of a tokenizer.
        data: The folder of SST-2.
        out: Where to save the result.
        seen: Phrases to train on.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    phrases = _read(data / "train.parquet")
    rest, chosen = split(len(phrases.texts), CHOOSE, SETTINGS.seed)
    examples = Tweets(tokenizer, phrases.pick(rest[:seen]))
    choose = Tweets(tokenizer, phrases.pick(chosen))
    held_out = Tweets(tokenizer, _read(data / "dev.parquet"))
    model = build(len(tokenizer), SETTINGS.seed)
    about = fit(
        model,
        lambda generator: examples.batches(SETTINGS.size, generator),
        len(examples.order(SETTINGS.size, torch.Generator())),
        lambda: assess(model, choose.batches(64)),
        SETTINGS,
    )
    model = model.half().float()  # what is saved is what is reported
    quality = rounded(assess(model, held_out.batches(64)))
    print("held out", quality)
    about |= {"task": "SST-2", "held_out": {"number": len(held_out), **quality}}
    about |= {"trained_on": len(examples), "settings": SETTINGS._asdict()}
    save(model, out, about)
    tokenizer.save_pretrained(out)


def build(vocabulary: int, seed: int, **changes: Any) -> MambaClassifier:
    """Build the model.

    Args:
        vocabulary: Tokens.
        seed: Of its weights.
        **changes: To its configuration.

    Returns:
        A classifier of two classes.
    """
    names = {0: "negative", 1: "positive"}
    config = MambaConfig(
        vocab_size=vocabulary,
        **{**ARCHITECTURE, **changes},
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MambaClassifier(config)


def load(folder: Path) -> tuple[MambaClassifier, Any]:
    """Load what `train` saved, in float32, and its tokenizer."""
    model = MambaClassifier.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def _read(path: Path) -> Texts:
    """Read sentences or phrases and their classes."""
    import pandas

    table = pandas.read_parquet(path)
    return Texts(list(table["sentence"]), torch.tensor(list(table["label"])))


if __name__ == "__main__":
    main()
