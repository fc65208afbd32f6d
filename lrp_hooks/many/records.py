"""What is kept of each text: a row of a parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..results.ledger import GROUPS, Ledger
from ..support.extras import require
from ..support.files import write_whole

__all__ = ["DIGEST", "WORK", "failed", "of_batch", "of_matrix", "read_digest", "write"]

Record = dict[str, Any]
WORK = "explaining a data set"
DIGEST = b"lrp_hooks.rows"
"""Where a file says which rows it explains."""


def failed(why: str) -> Record:
    """Make the record of a text that could not be explained.

    Args:
        why: The reason.

    Returns:
        The record.
    """
    return {"error": why}


def of_batch(found: Explanation) -> list[Record]:
    """Make records of texts that were explained together.

    Args:
        found: Their explanation.

    Returns:
        A record for each.

    Raises:
        ArgumentError: If its scores are not those of one input's tokens.
    """
    if not isinstance(found.scores, Tensor) or found.tokens is None:
        raise ArgumentError(
            "the scores of this model are of several inputs, or of no tokens, and "
            "explain_many() writes a row of tokens for each text. Use explain()."
        )
    scores, output = _lists(found.scores), _lists(found.output)
    tokens = found.tokens
    groups = _groups(getattr(found, "ledger", None), len(output))
    targets = found.targets
    return [
        {
            "tokens": tokens[b],
            "scores": scores[b][: len(tokens[b])],
            "output": output[b],
            "target": targets[b],
            "ledger": groups[b],
        }
        for b in range(len(output))
    ]


def of_matrix(
    tokens: Sequence[str],
    scores: Tensor,
    output: Tensor,
    targets: Sequence[str],
    ledger: Ledger | None,
) -> Record:
    """Make the record of a text whose output is many, a row of scores each.

    Args:
        tokens: What the columns are.
        scores: ``[G, N]``.
        output: ``[G]``.
        targets: What is explained by each row.
        ledger: Its terms are ``[G]``.

    Returns:
        The record.
    """
    groups = (
        None if ledger is None else {n: _lists(v) for n, v in ledger.groups.items()}
    )
    return {
        "tokens": list(tokens),
        "scores": _lists(scores),
        "output": _lists(output),
        "target": list(targets),
        "ledger": groups,
    }


def _lists(values: Tensor) -> list[Any]:
    found: list[Any] = values.detach().cpu().tolist()
    return found


def _groups(ledger: Ledger | None, count: int) -> list[dict[str, float] | None]:
    if ledger is None:
        return [None] * count
    columns = {name: _lists(values) for name, values in ledger.groups.items()}
    return [{name: own[b] for name, own in columns.items()} for b in range(count)]


def write(
    path: Path,
    start: int,
    records: Sequence[Record],
    dtype: torch.dtype,
    deep: bool,
    digest: str,
) -> None:
    """Write a file of records, whole or not at all.

    Args:
        path: The file.
        start: The number of the first row.
        records: One for each row.
        dtype: Of scores: float64 is kept as it is, anything else as float32.
        deep: Whether scores are lists of lists.
        digest: Which rows are explained.
    """
    arrow = require("pyarrow", "evaluate", WORK)
    parquet = require("pyarrow.parquet", "evaluate", WORK)
    schema = _schema(arrow, dtype, deep).with_metadata({DIGEST: digest.encode()})
    rows = [{"row": start + n, **record} for n, record in enumerate(records)]
    sink = arrow.BufferOutputStream()
    table = arrow.Table.from_pylist(rows, schema)
    parquet.write_table(table, sink, compression="zstd")
    write_whole({path: sink.getvalue().to_pybytes()})


def _schema(arrow: Any, dtype: torch.dtype, deep: bool) -> Any:
    number = arrow.float64() if dtype is torch.float64 else arrow.float32()

    def several(kind: Any) -> Any:
        return arrow.list_(kind) if deep else kind

    group = several(arrow.float64())
    return arrow.schema({
        "row": arrow.int64(),
        "tokens": arrow.list_(arrow.string()),
        "scores": several(arrow.list_(number)),
        "output": several(number),
        "target": several(arrow.string()),
        "ledger": arrow.struct([(name, group) for name in GROUPS]),
        "error": arrow.string(),
    })


def read_digest(path: Path) -> str:
    """Read which rows a file explains.

    Args:
        path: The file.

    Returns:
        What `write` was told.

    Raises:
        ArgumentError: If it is damaged.
    """
    parquet = require("pyarrow.parquet", "evaluate", WORK)
    try:
        metadata: Mapping[bytes, bytes] = parquet.read_schema(path).metadata
        return metadata[DIGEST].decode()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"the file {str(path)!r} cannot be read: {error}. Delete it, and it is "
            "computed anew."
        ) from error
