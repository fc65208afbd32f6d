"""Processes: jobs done once, errors sent back, folders held and taken over."""

import os
import socket
import subprocess
import sys
import warnings

import pytest
from transformers import BertForSequenceClassification

from lrp_hooks import (
    ArgumentError,
    LrpHooksError,
    LrpHooksWarning,
    TextError,
    explain_many,
)
from lrp_hooks.faithfulness import evaluate
from lrp_hooks.many import folders
from lrp_hooks.many.engines import Engine
from many_texts import bytes_of, some_texts
from shared_models import sentiment
from tiny_bert import tiny_bert

TEXTS = some_texts(40)


def squared(job):
    return job * job, os.getpid()


def refusing(job):
    raise TextError("no")


def dying(job):
    os._exit(3)


def many(out, **options):
    """Random scores take no time."""
    model = tiny_bert(BertForSequenceClassification)
    options = {"method": "random_baseline", "part_size": 7, **options}
    return explain_many(model, TEXTS, out, tokenizer=sentiment()[1], **options)


def test_workers_decide_no_bit(tmp_path):
    model = tiny_bert(BertForSequenceClassification)
    found = []
    for workers in (1, 2):
        out = explain_many(
            *(model, TEXTS, tmp_path / str(workers)),
            tokenizer=sentiment()[1],
            workers=workers,
            part_size=7,
        )
        found.append(bytes_of(out))
    assert found[0] == found[1] and len(found[0]) == 6


def test_processes_do_every_job_once_and_few_are_taken_ahead():
    taken = []
    jobs = (taken.append(n) or n for n in range(40))
    results = Engine(workers=2).map(squared, jobs)
    first = next(results)
    assert len(taken) <= 8
    found = [first, *results]
    assert sorted((job, result[0]) for job, result in found) == [
        (n, n * n) for n in range(40)
    ]
    assert os.getpid() not in {result[1] for _, result in found}


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [(refusing, TextError, "no"), (dying, LrpHooksError, "worker processes died")],
)
def test_errors_of_processes(do, kind, message):
    with pytest.raises(kind, match=message):
        list(Engine(workers=2).map(do, [1, 2, 3]))


HOLD = """
import sys, time
from pathlib import Path
from lrp_hooks.many.folders import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holding(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_two_runs_at_once_the_second_is_told_who(tmp_path, holding):
    said = rf"in use by process {holding.pid} on {socket.gethostname()}, begun 20"
    with pytest.raises(ArgumentError, match=said):
        many(tmp_path)
    assert not bytes_of(tmp_path)
    holding.stdin.close()
    holding.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many(tmp_path)


def test_an_evaluation_has_its_folder_to_itself(tmp_path, holding):
    given = (*sentiment(), ["a fine film", "a dull one"])
    options = {"methods": ["lrp"], "metrics": ["aopc"], "out": tmp_path}
    with pytest.raises(ArgumentError, match=f"in use by process {holding.pid}"):
        evaluate(*given, **options)
    holding.stdin.close()
    holding.wait()
    assert evaluate(*given, **options).rows


def test_what_a_killed_run_held_is_taken_over_with_a_word(tmp_path, holding):
    holding.kill()
    holding.wait()
    said = f"process {holding.pid} on {socket.gethostname()}.*has ended early"
    with pytest.warns(LrpHooksWarning, match=said):
        many(tmp_path)
    assert not (tmp_path / folders.HOLDER).exists()
