"""Is a word's relevance where it was said? ``python -m benchmarks.speech.run FOLDER``.

FOLDER holds Whisper tiny.en, as ``python -m benchmarks.speech.prepare`` saves it, and
espeak-ng speaks. Each sentence is a line of ``results.jsonl``; a run that was stopped
goes on behind the last.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks import GenerationExplanation, explain_generation
from lrp_hooks.texts.loading import load_model, load_processor, load_tokenizer

from ..by_prompt import environment, read
from .spoken import RATE, Spoken, sentence, spoken

HERE = Path(__file__).parent
FRAME = 0.01
Record = dict[str, Any]


def main() -> None:
    """Measure the sentences that are left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--most", type=int, help="sentences in this run")
    arguments = parser.parse_args()
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    reader = Reader(arguments.folder)
    results = HERE / "results.jsonl"
    done = len(read(results)) if results.exists() else 0
    end = min(config["sentences"], done + (arguments.most or config["sentences"]))
    for number in range(done, end):
        words = sentence(number, config["seed"])
        said = spoken(words, config["voice"], config["speed"], config["gap"])
        record = {"number": number, **environment(), **measured(reader, said, config)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(number, " ".join(words), "->", " ".join(record["heard"]), flush=True)


class Reader:
    """A model that writes what it hears."""

    def __init__(self, folder: str) -> None:
        """Load it from a folder."""
        self.model = load_model(folder)
        self.tokenizer = load_tokenizer(folder)
        self.extractor = load_processor(folder, "feature extractor")

    def explained(self, said: Spoken, **options: Any) -> GenerationExplanation:
        """Explain each word that it writes of a sound."""
        features = self.extractor(said.samples, sampling_rate=RATE, return_tensors="pt")
        found = explain_generation(
            self.model,
            self.tokenizer,
            dict(features),
            processor=self.extractor,
            **options,
        )
        return found.words()


def measured(reader: Reader, said: Spoken, config: Record) -> Record:
    """Explain a sentence by each rule set.

    Args:
        reader: The model.
        said: The sentence.
        config: The configuration.

    Returns:
        What was heard; of each method its seconds, the ledger's error, and of each
        word that was heard right whether the strongest moment is inside of it, and
        the part of the positive relevance of all words' times that is.
    """
    found: Record = {}
    for rules in config["rules"]:
        began = time.process_time()
        explained = reader.explained(
            said, max_new_tokens=config["new_tokens"], rules=rules
        )
        found[rules] = {
            "seconds": time.process_time() - began,
            "error": explained.ledger.error.max().item(),
            "words": located(explained, said, config),
        }
    return {
        "said": said.words,
        "heard": [word.strip().lower() for word in explained.generated],
        "length": said.times[-1][1],
        "spoken": sum(end - start for start, end in said.times),
        "methods": found,
    }


def located(
    explained: GenerationExplanation, said: Spoken, config: Record
) -> list[Record]:
    """Say of each word where its relevance is."""
    found = []
    for place, row in aligned(said.words, explained.generated):
        (start, end), margin = said.times[place], config["margin"]
        scores = explained.scores[row, : explained.encoder]
        strongest = peak(scores, config["moment"])
        found.append({
            "word": said.words[place],
            "chance": (end - start) / said.times[-1][1],
            "inside": start - margin <= strongest <= end + margin,
            "share": share(scores, (start, end), said.times),
        })
    return found


def aligned(said: list[str], written: list[str]) -> list[tuple[int, int]]:
    """Find the words that were said among those that were written.

    Args:
        said: The words.
        written: What the model wrote, marks such as ``<|endoftext|>`` among it.

    Returns:
        ``(word, written word)``: one by one where as many were written as were said,
        though some may be misheard; else those that are alike, and alike once.
    """
    heard = [word.strip(" .,").lower() for word in written]
    rows = [n for n, word in enumerate(heard) if word and "<|" not in word]
    if len(rows) == len(said):
        return list(enumerate(rows))
    return [
        (place, heard.index(word))
        for place, word in enumerate(said)
        if heard.count(word) == 1
    ]


def peak(row: Tensor, moment: float) -> float:
    """Return the middle of the stretch of a length that has most relevance, seconds."""
    size = round(moment / FRAME)
    sums = row.unfold(0, size, 1).sum(1)
    return (int(sums.argmax()) + size / 2) * FRAME


def share(
    row: Tensor, own: tuple[float, float], times: list[tuple[float, float]]
) -> float:
    """Return the part of what all words' times have that a word's own has."""
    positive = row.clamp(min=0)

    def inside(span: tuple[float, float]) -> float:
        return float(positive[round(span[0] / FRAME) : round(span[1] / FRAME)].sum())

    return inside(own) / sum(map(inside, times))


if __name__ == "__main__":
    main()
