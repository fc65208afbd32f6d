"""Ray: the bytes of one process, also where a node is lost or another engine began."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from command_line import EMBEDDED
from lrp_hooks import (
    ArgumentError,
    LrpHooksError,
    TextError,
    explain_many,
    faithfulness,
)
from lrp_hooks.many.engines import Engine
from many_texts import bytes_of, some_texts
from shared_models import sentiment

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

TEXTS = some_texts(48)
HELPERS = str(Path(__file__).parents[1] / "helpers")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each on this machine, and a third that has the driver."""
    path = os.pathsep.join([HELPERS, *filter(None, sys.path)])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = path
    found = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": {"worker_niceness": 0},  # other tests are at work, too
        },
    )
    found.workers = [found.add_node(num_cpus=1) for _ in range(2)]
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one process leaves."""
    out = tmp_path_factory.mktemp("whole")
    return bytes_of(explain_many(EMBEDDED, TEXTS, out, part_size=8))


def squared(job):
    if job == "bad":
        raise TextError("the job is bad")
    return job * job


def test_an_engine_maps_jobs(cluster, tmp_path):
    engine = Engine("ray", 2, cluster.address)
    found = list(engine.map(squared, range(5), tmp_path))
    assert sorted(found) == [(n, n * n) for n in range(5)]
    assert not list(tmp_path.iterdir())
    assert not list(engine.map(squared, [], tmp_path))
    assert not ray.is_initialized()


def test_errors_travel(cluster, tmp_path):
    with pytest.raises(TextError, match="the job is bad"):
        list(Engine("ray", 1, cluster.address).map(squared, ["bad"], tmp_path))


@pytest.mark.parametrize("model", ["folder", "object"])
def test_the_same_bytes(cluster, whole, tmp_path, model):
    given, tokenizer = (EMBEDDED, None) if model == "folder" else sentiment()
    if model == "object":
        pytest.importorskip("torch")
    out = explain_many(
        *(given, iter(TEXTS), tmp_path),
        tokenizer=tokenizer,
        part_size=8,
        engine="ray",
        address=cluster.address,
        workers=2,
    )
    if model == "folder":
        assert bytes_of(out) == whole
    assert len(bytes_of(out)) == 6


def test_one_engine_ends_what_another_began(cluster, whole, tmp_path):
    explain_many(EMBEDDED, TEXTS, tmp_path, part_size=8)
    for name in ("0000001.parquet", "0000003.parquet"):
        (tmp_path / name).unlink()
    explain_many(
        *(EMBEDDED, TEXTS, tmp_path),
        part_size=8,
        engine="ray",
        address=cluster.address,
    )
    assert bytes_of(tmp_path) == whole


def test_an_evaluation(cluster):
    model, tokenizer = sentiment()
    options = {"methods": ["lrp"], "metrics": ["aopc"], "chunk": 4}
    here = faithfulness.evaluate(model, tokenizer, TEXTS[:12], **options)
    there = faithfulness.evaluate(
        *(model, tokenizer, TEXTS[:12]),
        engine="ray",
        address=cluster.address,
        workers=2,
        **options,
    )
    assert here.rows == there.rows


def test_a_node_that_is_lost_midway_costs_nothing(cluster, tmp_path):
    """It is last, since a node is gone then."""
    texts, options = some_texts(64), {"method": "slalom", "part_size": 2}
    here = bytes_of(explain_many(EMBEDDED, texts, tmp_path / "here", **options))
    out, done = tmp_path / "there", []

    def lose():
        while len(done) < 4:
            time.sleep(0.05)
            done[:] = out.glob("*.parquet")
        cluster.remove_node(cluster.workers.pop(), allow_graceful=False)

    with ThreadPoolExecutor(1) as pool:
        losing = pool.submit(lose)
        explain_many(
            *(EMBEDDED, texts, out),
            engine="ray",
            address=cluster.address,
            workers=2,
            **options,
        )
        losing.result()
    assert 4 <= len(done) < len(here) == 32
    assert bytes_of(out) == here


def test_no_cluster():
    start = time.monotonic()
    with pytest.raises(ArgumentError, match="no Ray cluster answers") as error:
        list(Engine("ray", 1, "127.0.0.1:1").map(squared, [1]))
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 30
    assert isinstance(error.value, LrpHooksError)
