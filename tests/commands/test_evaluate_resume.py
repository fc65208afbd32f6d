"""``lrp-hooks evaluate`` goes on where it was stopped, and leaves nothing behind."""

import json
import math
import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from command_line import ROWS
from lrp_hooks import cli
from processes import command

SECONDS = 120
# Portions of one text each, so that there are many.
OPTIONS = ["--methods", "lrp,random_baseline", "--metrics", "activation,aopc"]
OPTIONS += ["--chunk", "1"]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """What an uninterrupted evaluation leaves."""
    folder = tmp_path_factory.mktemp("whole")
    more = ["--data", str(data), *OPTIONS, "--out", str(folder)]
    assert cli.main(["evaluate", *more]) == 0
    return folder


def assert_same_results(folder, whole):
    files = [
        sorted(path.name for path in place.rglob("*")) for place in (folder, whole)
    ]
    assert files[0] == files[1]
    for name in ("results.parquet", "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    ours, theirs = (
        json.loads((place / "summary.json").read_text()) for place in (folder, whole)
    )
    for key in ("summary", "fractions", "skipped", "failures", "shown"):
        assert ours[key] == theirs[key]


def stamps(folder):
    """Which portions are there, and which files they are."""
    found = {}
    for path in folder.glob("parts/0*.json"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


@pytest.fixture
def start(forks, tmp_path_factory):
    """Start the command; return its process and the file with its errors."""
    errors = tmp_path_factory.mktemp("said") / "errors"

    def start(*arguments):
        with open(os.devnull, "wb") as out, open(errors, "wb") as err:
            return forks.start(command(*arguments), out, err), errors

    return start


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()


def until(condition, process):
    """Wait for what a process is to do; fail if it has ended or takes too long."""
    end = time.monotonic() + SECONDS
    while True:
        alive = Path(f"/proc/{process}").exists()
        if condition():
            return
        if not alive or time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            pytest.fail(f"the process {'takes too long' if alive else 'has ended'}")
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("sent", "early", "code", "then"),
    [
        (signal.SIGINT, True, 130, 1),  # while workers import what they need
        (signal.SIGINT, False, 130, 1),
        (signal.SIGKILL, False, -signal.SIGKILL, 2),
    ],
)
def test_workers(run, forks, start, data, whole, tmp_path, sent, early, code, then):
    more = ["evaluate", "--data", data, *OPTIONS, "--out", tmp_path]
    process, errors = start(*more, "--workers", 2)
    if early:
        until(lambda: len(children(process)) >= 3, process)
    else:
        until(lambda: stamps(tmp_path), process)
    for worker in children(process) if early else ():
        time.sleep(0.5)
        os.kill(int(worker), signal.SIGINT)  # they never hear of it
    (os.killpg if sent == signal.SIGINT else os.kill)(process, sent)
    assert forks.wait() == code
    with pytest.raises(ProcessLookupError):  # no process of its session is left
        for _ in range(200):
            os.killpg(process, 0)
            time.sleep(0.05)
    said = "lrp-hooks: stopped; files are whole or not there\n"
    assert code < 0 or errors.read_text() == said
    kept = stamps(tmp_path)
    assert len(kept) < ROWS
    assert not (tmp_path / "results.parquet").exists()
    code_then, _, told = run(*more, "--workers", then)
    ended = f"process {process} on .* has ended early and is taken up"
    assert code_then == 0
    assert re.search(ended, told) if code < 0 else not told
    assert kept.items() <= stamps(tmp_path).items()
    assert_same_results(tmp_path, whole)


def moved_on(folder, before, latest):
    """Make a condition: there are other portions, or all, or it is later than that."""

    def condition():
        count = len(stamps(folder))
        return count != before or count == ROWS or time.monotonic() > latest

    return condition


def test_killed_ten_times_at_random_moments(forks, start, data, whole, tmp_path):
    more = ["evaluate", "--data", data, *OPTIONS, "--out", tmp_path]
    seed = random.randrange(2**32)
    print("seed", seed)
    kept, kills, draw = {}, 0, random.Random(seed)
    while kills < 10:
        process, _ = start(*more)
        latest = time.monotonic() + draw.uniform(0, 2)
        # Half of the kills come at any moment, half after some more portions.
        until(moved_on(tmp_path, len(kept), math.inf if kills % 2 else latest), process)
        time.sleep(draw.uniform(0, 0.2))
        with suppress(ProcessLookupError):  # it may be done already
            os.kill(process, signal.SIGKILL)
        code = forks.wait()
        assert code in {0, -signal.SIGKILL}
        kills += code != 0
        now = stamps(tmp_path)
        assert kept.items() <= now.items()  # what is there is not written again
        kept = now
    start(*more)
    assert forks.wait() == 0
    assert kept.items() <= stamps(tmp_path).items()
    assert_same_results(tmp_path, whole)
