"""Results of one experiment in one file, written whole, and taken up again."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Record"]


class Record:
    """What has been measured so far, entry by entry."""

    def __init__(self, path: Path, config: Any) -> None:
        """Take up earlier results of the same configuration, or begin new ones.

        Args:
            path: The file.
            config: This experiment's configuration.
        """
        self.path = path
        self.content: dict[str, Any] = {
            "config": config,
            "environment": environment(),
            "entries": {},
        }
        if self.path.exists():
            old = json.loads(self.path.read_text(encoding="utf-8"))
            if old["config"] == config:
                self.content = old

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return an entry, measured now if it is not there.

        Args:
            name: Which entry.
            make: Measures it.

        Returns:
            The entry.
        """
        entries = self.content["entries"]
        if name not in entries:
            entries[name] = make()
            self.save()
        return entries[name]

    def later(self, name: str, make: Callable[[], Any], every: int = 25) -> None:
        """Measure an entry that is cheap, and write only now and then.

        Args:
            name: Which entry.
            make: Measures it, if it is not there.
            every: How many are measured before they are written. Defaults to ``25``.
        """
        entries = self.content["entries"]
        if name not in entries:
            entries[name] = make()
            if len(entries) % every == 0:
                self.save()

    def save(self) -> None:
        """Write everything whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        text = json.dumps(self.content, indent=1) + "\n"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.path)


def environment() -> dict[str, str]:
    """Return the versions that numbers depend on."""
    names = ("torch", "transformers", "captum", "lrp_hooks")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
