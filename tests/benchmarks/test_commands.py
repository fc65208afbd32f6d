"""Benchmarks are commands: each reads its command line before it does anything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READS = ("(__doc__", "ArgumentParser(", "sys.argv")
"""How a file reads the command line, or hands on what its help is to say."""
COMMANDS = [
    path.relative_to(ROOT)
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", COMMANDS, ids=str)
def test_a_command_reads_its_arguments(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert any(way in text for way in READS)


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--nosuch", 2)])
def test_nothing_is_trained_by_a_call_for_help(argument, code):
    command = [sys.executable, "-m", "benchmarks.papers.attention.train", argument]
    settings = {"cwd": ROOT, "capture_output": True, "text": True}
    found = subprocess.run(command, check=False, **settings)
    assert found.returncode == code
    assert "usage:" in found.stdout + found.stderr
    assert ("Train the one-layer classifier" in found.stdout) == (code == 0)
