"""Portions of a measurement: each once, in one order, from where it stopped."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.papers.portions import gathered, shuffled


@given(number=st.integers(1, 60), seed=st.integers(0, 9), few=st.integers(0, 60))
def test_fewer_examples_are_the_first_of_more(number, seed, few):
    every = shuffled(number, None, seed)
    assert sorted(every) == list(range(number))
    assert shuffled(number, few, seed) == every[:few]


class Doubles:
    """Measures 2 x row, and remembers what it was asked; may stop."""

    def __init__(self, stops=()):
        self.asked, self.stops = [], stops

    def __call__(self, rows):
        if set(rows) & set(self.stops):
            raise KeyboardInterrupt
        self.asked += rows
        return {"double": [2.0 * row for row in rows]}


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    path, rows = tmp_path / "found.jsonl", [3, 1, 4, 0, 2]
    first = Doubles(stops=[4])
    with pytest.raises(KeyboardInterrupt):
        gathered(path, {"a": 1}, rows, 2, first)
    assert first.asked == [3, 1]
    second = Doubles()
    found = gathered(path, {"a": 1}, rows, 2, second)
    assert second.asked == [4, 0, 2]
    assert found["double"].tolist() == [6, 2, 8, 0, 4]
    assert gathered(path, {"a": 1}, rows, 2, Doubles(rows))["double"].tolist() == [
        *[6, 2, 8, 0, 4]
    ]


def test_another_question_is_measured_anew(tmp_path):
    path = tmp_path / "found.jsonl"
    gathered(path, {"a": 1}, [0, 1], 1, Doubles())
    again = Doubles()
    gathered(path, {"a": 2}, [0, 1], 1, again)
    assert again.asked == [0, 1]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0]) == {
        "asked": {"a": 2}
    }


def test_no_time_measures_nothing_and_returns_what_there_is(tmp_path):
    path = tmp_path / "found.jsonl"
    assert gathered(path, {}, [0, 1], 1, Doubles([0, 1]), minutes=0) == {}
    gathered(path, {}, [0], 1, Doubles())
    found = gathered(path, {}, [0, 1], 1, Doubles([0, 1]), minutes=0)
    assert found["double"].tolist() == [0]


@given(
    size=st.integers(1, 6),
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=4),
)
def test_more_and_fewer_examples_are_the_first_ones(size, counts, tmp_path_factory):
    path = tmp_path_factory.mktemp("portions") / "found.jsonl"
    for count in counts:
        rows = shuffled(40, count, 0)
        found = gathered(path, {"a": 1}, rows, size, Doubles())
        assert found.get("double", torch.zeros(0)).tolist() == [2.0 * r for r in rows]


def test_no_time_leaves_another_questions_answers(tmp_path):
    path = tmp_path / "found.jsonl"
    gathered(path, {"a": 1}, [0, 1], 1, Doubles())
    kept = path.read_bytes()
    assert gathered(path, {"a": 2}, [0, 1], 1, Doubles(), minutes=0) == {}
    assert path.read_bytes() == kept
