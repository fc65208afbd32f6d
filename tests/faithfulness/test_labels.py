"""Labels mean one thing in a whole data set: names whatever their case, or numbers."""

import warnings

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from lrp_hooks import ArgumentError, LrpHooksWarning, TargetError, instrument
from lrp_hooks.attribution.classes import label_id
from lrp_hooks.faithfulness.labels import classes_of_labels, known_classes
from small_models import hugging_face


class Named(nn.Linear):
    """A classifier whose labels have names."""

    def __init__(self, *names):
        super().__init__(2, len(names))
        self.config = type("Config", (), {})()
        self.config.label2id = {name: i for i, name in enumerate(names)}
        self.config.num_labels = len(names)


MOOD = Named("negative", "positive")
STARS = Named("1", "2", "3")


@pytest.mark.parametrize(
    ("model", "labels", "classes"),
    [
        (MOOD, ["negative", "Positive", "NEGATIVE"], (0, 1, 0)),
        (MOOD, ["0", "1"], (0, 1)),
        (MOOD, [0, 1.0, True * 1], (0, 1, 1)),
        (MOOD, ["positive", 0], (1, 0)),
        (MOOD, np.array([1, 0]), (1, 0)),
        (MOOD, pandas.Series(["Positive", "negative"], index=[4, 2]), (1, 0)),
        (MOOD, torch.tensor([1, 0]), (1, 0)),
        (STARS, ["1", "2", "1", "0"], (1, 2, 1, 0)),
        (STARS, ["1", "3"], (0, 2)),
        (STARS, [1, 2], (1, 2)),
        (Named("A", "a"), ["A", "a"], (0, 1)),
    ],
)
def test_what_labels_mean(model, labels, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classes_of_labels(model, labels) == classes


def test_names_that_could_be_numbers_are_told():
    with pytest.warns(LrpHooksWarning, match="'1', in row 0, is class 0, not 1"):
        assert classes_of_labels(STARS, ["1", "2"]) == (0, 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "negative"], "holds '1', in row 0.*numbers alone, without names"),
        (["negative", "happy"], "'happy', in row 1.*'negative', 'positive'"),
        (["0", "2"], "'2', in row 1.*0 to 1"),
        ([0, 2], "2, in row 1"),
        ([0, -1], "-1, in row 1"),
        ([0, 0.5], "0.5, in row 1"),
        ([0, None], "None, in row 1"),
        (["negativ"], "Did you mean 'negative'"),
    ],
)
def test_what_the_model_does_not_know(labels, message):
    with pytest.raises(TargetError, match=message):
        classes_of_labels(MOOD, labels)


def test_two_labels_that_differ_in_case_need_their_own():
    model = Named("Yes", "yes", "no")
    assert [label_id(model, n) for n in ("Yes", "yes", "YES", "No")] == [0, 1, None, 2]


def test_no_sequence():
    with pytest.raises(ArgumentError, match="labels is a int"):
        classes_of_labels(MOOD, 3)


def test_targets_are_found_whatever_their_case():
    model = hugging_face("bert")
    model.config.label2id = {"Bad": 0, "Good": 1}
    batch = {"input_ids": torch.tensor([[2, 5, 7, 3]])}
    with instrument(model) as lrp:
        assert lrp.attribute(batch, "gOOD").target.tolist() == [1]
        with pytest.raises(TargetError, match="'godo' is no label"):
            lrp.attribute(batch, "godo")


@pytest.mark.parametrize(
    ("model", "labels", "classes"),
    [
        (MOOD, ["positive", None, "happy", "Negative"], (1, None, None, 0)),
        (MOOD, ["1", "0", "positive"], (1, 0, None)),
        (MOOD, ["positive", "1"], (1, None)),
        (MOOD, [1, 0.5, None, 5], (1, None, None, None)),
        (STARS, ["1", "2", "0", "x"], (1, 2, 0, None)),
        (STARS, ["1", "3", "x"], (0, 2, None)),
    ],
)
def test_what_is_known_of_labels(model, labels, classes):
    assert known_classes(model, labels) == classes


def test_known_labels_are_those_of_a_whole_data_set():
    for labels in (["negative", "POSITIVE"], ["1", "0"], [0, 1]):
        assert known_classes(MOOD, labels) == classes_of_labels(MOOD, labels)


@pytest.mark.parametrize("labels", [["happy", None], [None, None], [7]])
def test_nothing_that_is_known(labels):
    with pytest.raises(TargetError, match="does not know"):
        known_classes(MOOD, labels)


@pytest.mark.parametrize("labels", [[2, 1, 1, 2], ["2", "1"], [1.0, 2.0, None]])
def test_classes_that_are_counted_from_one(labels):
    with pytest.raises(TargetError, match="2 and no 0.*Subtract 1.*'positive'"):
        known_classes(MOOD, labels)
