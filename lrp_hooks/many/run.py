"""`explain_many`: what it is asked for, done where it is to be, portion by portion."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ..errors import ArgumentError
from ..support.extras import require
from .asked import TOKENS, Asked
from .data import Data, Portion, read_data
from .engines import Engine, as_engine
from .explaining import Explaining, part_path
from .folders import bind, claimed, differing, made, sweep
from .identity import identity_of
from .models import Travelling
from .records import WORK, read_digest
from .warned import Warned, note, tell

__all__ = ["Summary", "explain_many", "run"]

MANIFEST, WHAT = "_manifest.json", "explanations"


def explain_many(
    model_or_folder: Any,
    data: Any,
    out: str | PathLike[str],
    *,
    text: str | Sequence[str] = "text",
    label: str | None = None,
    target: Any = None,
    method: str = "lrp",
    tokenizer: Any = None,
    batch_size: int | None = None,
    tokens_per_batch: int = TOKENS,
    part_size: int | None = None,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    num_gpus: float = 0,
    progress: TextIO | None = None,
    **options: Any,
) -> Path:
    """Explain every text of a data set, and keep what is found in a folder.

    The same call takes a run up that was stopped, however it was. Which texts are in
    one batch is decided by the data alone, and each worker has one thread, so that
    engines and workers decide no bit.

    Args:
        model_or_folder: A folder that holds a model and its tokenizer, or a model as
            `explain` takes it; it is left as it was. Workers load a folder themselves.
        data: A file that ends in ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl``; a
            folder of parquet files; a data set of `datasets` or a table of pandas; or
            an iterable, such as a DataLoader, of texts, of mappings, or of batches of
            either. It is read once, and never held as a whole.
        out: The folder. ``pandas.read_parquet(out)`` reads a row for each text, in the
            order of the data: ``row``, ``tokens``, ``scores``, ``output``, ``target``,
            ``ledger`` (its groups, by name) and ``error``, which is null or says why
            this text could not be explained.
        text: The column of texts, or the two of pairs. Defaults to ``"text"``, for
            which ``"sentence"`` will do in a file.
        label: The column of labels, names or numbers of classes: what is explained of
            each text. Defaults to ``None``: ``target``.
        target: What is explained of every text, see `explain`.
        method: An explainer; ``"generation"`` for `explain_generation` of each prompt,
            with its column ``continuation`` if there is one; ``"answer"`` for
            `explain_answer`, with columns ``answer`` and ``sources`` if there are such.
            ``scores``, ``output``, ``target`` and ``ledger`` are lists then, with an
            entry for each token or span that was written.
        tokenizer: The model's tokenizer. Defaults to ``None``: the one that comes with
            the model.
        batch_size: How many texts are explained together. Defaults to ``None``: as
            many as ``tokens_per_batch`` allow.
        tokens_per_batch: How many tokens a batch has at most, padding included.
        part_size: How many texts are a portion: sorted by length among themselves,
            done by one worker, kept in one file, and done again where a run is killed.
            Defaults to ``None``: 512, or 16 prompts.
        workers: How many processes, or actors on Ray, of one thread each.
        engine: ``"local"`` for this machine, ``"ray"`` for a Ray cluster.
        address: The cluster's. Defaults to ``None``: the one that Ray finds, or a new
            one on this machine.
        num_gpus: How many GPUs each actor has; from 1 on, the model runs there.
        progress: Where a bar is shown, if that is a terminal. Defaults to ``None``:
            standard error.
        **options: Of the explainer, such as ``rules="attnlrp"``, and ``stride`` and
            ``decoder`` of `explain`; or of `explain_generation` or `explain_answer`.

    Returns:
        The folder. One that belongs to other data, another model, other options or
        versions is refused, as is one in which another run is at work.
    """
    require("pyarrow.parquet", "evaluate", WORK)
    names = (text,) if isinstance(text, str) else tuple(text)
    what = Asked(
        *(names, label, target, method, options),
        batch_size=batch_size,
        tokens=tokens_per_batch,
        part_size=part_size,
    )
    what.check()
    where = as_engine(engine, workers, address, num_gpus)
    model = Travelling(model_or_folder, tokenizer)
    run(model, data, out, what, where, progress or sys.stderr)
    return Path(out)


@dataclass
class Summary:
    """What became of a run.

    Attributes:
        texts: How many the data has.
        failed: How many of those that were explained now could not be.
    """

    texts: int = 0
    failed: int = 0


def run(
    model: Travelling,
    data: Any,
    out: str | PathLike[str],
    what: Asked,
    engine: Engine,
    stderr: TextIO,
) -> Summary:
    """Do what `explain_many` was asked for.

    Args:
        model: The model.
        data: The data.
        out: The folder.
        what: What to do with each text.
        engine: Where.
        stderr: Where a bar is shown, if that is a terminal.

    Returns:
        What became of it.
    """
    rows = read_data(data, what.columns)
    if what.label is not None:
        rows = rows.having(what.label, "label")
    folder = made(out)
    with claimed(folder):
        device = "cuda" if engine.num_gpus else _device(model)
        fingerprint = {
            **identity_of(*model.pair),
            **what.fingerprint(),
            "device": device,
            "data": rows.digest,
        }
        bind(folder, MANIFEST, fingerprint, "*.parquet", WHAT)
        if engine.num_gpus:
            model.device = "cuda"
        do = Explaining(model, what, str(folder))
        found = _do_the_rest(do, rows, folder, engine, stderr)
        sweep(folder)
    return found


def _device(model: Travelling) -> str:
    return next((p.device.type for p in model.pair[0].parameters()), "cpu")


def _do_the_rest(
    do: Explaining, rows: Data, folder: Path, engine: Engine, stderr: TextIO
) -> Summary:
    """Explain the portions that are still to be done."""
    told: set[Warned] = set()
    found = Summary()
    bar = tqdm(
        total=rows.total,
        unit="text",
        file=stderr,
        leave=False,
        disable=not stderr.isatty(),
        smoothing=0.05,
    )
    left = _Left(rows, do.asked.size, folder, bar)
    with bar, closing(engine.map(do, left, folder)) as results:
        for _, done in results:
            bar.update(done.texts)
            found.failed += done.failed
            note(told, done.warned)
    left.check()
    tell(told)
    found.texts = left.texts
    return found


class _Left:
    """The portions that are still to be done; those that are done are checked."""

    def __init__(self, rows: Data, size: int, folder: Path, bar: tqdm) -> None:
        self.rows, self.size, self.folder, self.bar = rows, size, folder, bar
        self.count = self.texts = 0

    def __iter__(self) -> Generator[Portion]:
        for portion in self.rows.portions(self.size):
            self.count += 1
            self.texts += len(portion.rows)
            path = part_path(self.folder, portion.number)
            if not path.exists():
                yield portion
                continue
            if read_digest(path) != portion.digest:
                raise differing(self.folder, WHAT, ["data"])
            self.bar.update(len(portion.rows))

    def check(self) -> None:
        """Refuse data without a row, and a folder that explains more rows.

        Raises:
            ArgumentError: If there is no row.
            differing: If the folder explains more rows.
        """
        if not self.count:
            raise ArgumentError("data has no rows. Pass at least one text.")
        if part_path(self.folder, self.count).exists():
            raise differing(self.folder, WHAT, ["data"])
