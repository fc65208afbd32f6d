"""A run that is killed at any moment is taken up, and leaves the same bytes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from command_line import EMBEDDED
from lrp_hooks import explain_many
from many_texts import bytes_of, some_texts

SECONDS = 120
COUNT = 64
PROGRAM = """
from lrp_hooks import explain_many
if __name__ == "__main__":
    explain_many({model!r}, iter({texts!r}), {out!r}, part_size=4,
                 workers={workers})
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves that nobody stops."""
    out = tmp_path_factory.mktemp("whole")
    explain_many(EMBEDDED, some_texts(COUNT), out, part_size=4)
    return bytes_of(out)


@pytest.fixture
def start(forks, tmp_path):
    """Begin a run in a process of its own."""

    def start(workers=1):
        program = PROGRAM.format(
            model=EMBEDDED, texts=some_texts(COUNT), out=str(tmp_path), workers=workers
        )
        with open(os.devnull, "wb") as null:
            return forks.start(program, null, null)

    return start


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.parquet")}


def wait_for_more(folder, before, process):
    end = time.monotonic() + SECONDS
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:
        if len(stamps(folder)) > before:
            return
        time.sleep(0.002)


def test_killed_at_random_moments(forks, start, whole, tmp_path):
    seed = random.randrange(2**32)
    print("seed", seed)
    draw, kept, kills = random.Random(seed), {}, 0
    while kills < 6 and len(kept) < len(whole):
        process = start()
        wait_for_more(tmp_path, len(kept), process)
        time.sleep(draw.uniform(0, 0.05))
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        kills += forks.wait() != 0
        now = stamps(tmp_path)
        assert kept.items() <= now.items()
        kept = now
    assert kills
    start()
    assert forks.wait() == 0
    assert kept.items() <= stamps(tmp_path).items()
    assert bytes_of(tmp_path) == whole
    assert not list(tmp_path.glob(".*.part"))


def test_two_workers_killed_with_their_parent(forks, start, whole, tmp_path):
    process = start(workers=2)
    wait_for_more(tmp_path, 0, process)
    os.kill(process, signal.SIGKILL)
    assert forks.wait() != 0
    with pytest.raises(ProcessLookupError):  # workers end with their parent
        for _ in range(200):
            os.killpg(process, 0)
            time.sleep(0.05)
    assert 0 < len(stamps(tmp_path)) < len(whole)
    start(workers=1)
    assert forks.wait() == 0
    assert bytes_of(tmp_path) == whole
