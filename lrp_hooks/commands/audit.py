"""``lrp-hooks audit``: where relevance leaks in a model, and the ledger."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, TextIO

from ..attribution.audit import Audit
from ..attribution.instrument import instrument
from ..attribution.readout import Contrast
from ..engine.ruleset import RuleSet
from ..results.ledger import Ledger
from ..tasks import pose
from ..texts.given import Text
from .chosen import asked_target, check_inputs, check_one_target, chosen_model
from .outputs import check_outputs, deliver, json_file
from .reading import read_texts

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Audit a model on one text, or on the lines of standard input as one batch.

    Args:
        arguments: What the command line says.
        stderr: Where to say that loading takes a while.
    """
    check_one_target(arguments)
    texts = read_texts(arguments.text, arguments.text_pair, arguments.encoding)
    rules = RuleSet.named(arguments.rules)
    check_outputs(arguments)
    model, tokenizer = chosen_model(arguments.model, stderr)
    target = asked_target(arguments, model, tokenizer)
    encoded = check_inputs(model, tokenizer, texts)
    posed = pose(model, tokenizer, encoded.batch, encoded, target)
    with instrument(model, rules) as lrp:
        audit = lrp.audit(posed.batch, posed.target)
    record = {"rules": rules.name, "target": _named(target), **_record(texts, audit)}
    shown = replace(audit, rows=audit.rows[: arguments.rows])
    many = f"{len(shown.rows)} of {len(audit.rows)} modules, the worst leaks first"
    text = f"rules {rules.name!r}: {many}\n\n{shown}"
    deliver(json_file(arguments, record), text)


def _named(target: Any) -> Any:
    """Return a target as JSON writes it."""
    return [target.a, target.b] if isinstance(target, Contrast) else target


def _record(texts: Sequence[Text], audit: Audit) -> dict[str, Any]:
    """Return every module, what has no rule, and each text's ledger."""
    unruled = [{"function": f, "module": m} for f, m in sorted(audit.unruled)]
    ledgers = [
        {"text": text, **_account(audit.ledger, index)}
        for index, text in enumerate(texts)
    ]
    modules = [asdict(row) for row in audit.rows]
    return {"modules": modules, "unruled": unruled, "ledgers": ledgers}


def _account(ledger: Ledger, index: int) -> dict[str, Any]:
    """Return one example's terms by kind, the sums, and every source."""
    sums = {"total": ledger.total, "output": ledger.output, "error": ledger.error}
    account: dict[str, Any] = {
        name: float(values[index]) for name, values in {**ledger.groups, **sums}.items()
    }
    sources = {name: float(terms[index]) for name, terms in ledger.sources.items()}
    return {**account, "sources": sources}
