"""The benchmark of speech: which words are paired, where relevance is, its table."""

import json
import struct

import numpy as np
import pytest
import torch

from benchmarks.speech import prepare, report, run
from benchmarks.speech.spoken import PARTS, sentence


def test_sentences_come_from_the_seed():
    found = [sentence(number, 0) for number in range(8)]
    assert found == [sentence(number, 0) for number in range(8)]
    assert found != [sentence(number, 1) for number in range(8)]
    for words in found:
        assert all(w in part.split() for w, part in zip(words, PARTS, strict=True))


@pytest.mark.parametrize(
    ("written", "pairs"),
    [
        (["<|no|>", " Two", " red.", " birds", "<|end|>"], [(0, 1), (1, 2), (2, 3)]),
        ([" To", " red", " bids"], [(0, 0), (1, 1), (2, 2)]),
        ([" red", " birds"], [(1, 0), (2, 1)]),
        ([" red", " red", " a", " birds"], [(2, 3)]),
        ([], []),
    ],
)
def test_words_are_paired(written, pairs):
    assert run.aligned(["two", "red", "birds"], written) == pairs


def test_where_relevance_is():
    row = torch.zeros(300)
    row[100:110] = 1.0
    row[200:205] = 1.5
    row[50:60] = -9.0
    assert run.peak(row, 0.1) == pytest.approx(1.05)
    times = [(0.5, 0.7), (0.9, 1.2), (1.9, 2.2)]
    assert run.share(row, times[1], times) == pytest.approx(10 / 17.5)
    assert run.share(row, times[0], times) == 0.0


def test_arrays_are_read(tmp_path):
    given = {
        "a/weight": np.arange(6, dtype="float16").reshape(2, 3),
        "b": np.array([1, 2], "int32"),
    }

    def text(word):
        return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("Spec"), struct.pack("<I", 1)]
    parts.append(struct.pack("<I", len(given)))
    for name, value in given.items():
        kind = {"float16": 4, "int32": 3}[value.dtype.name]
        sizes = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        ends = struct.pack("<BI", kind, value.nbytes)
        parts += [text(name), sizes, ends, value.tobytes()]
    (tmp_path / "model.bin").write_bytes(b"".join(parts))
    found = prepare.arrays(tmp_path / "model.bin")
    assert found.keys() == given.keys()
    assert all(np.array_equal(found[name], given[name]) for name in given)


def test_the_table_has_what_was_measured():
    records = report.read(report.RESULTS)
    text = report.README.read_text(encoding="utf-8")
    assert report.table(records) in text
    first = records[0]["methods"]
    config = json.loads((run.HERE / "config.json").read_text(encoding="utf-8"))
    assert [*first] == config["rules"]
