"""A folder belongs to one run, and to everything that decides its numbers."""

import json
import warnings

import pandas
import pytest
import torch
from filelock import FileLock
from transformers import BertForSequenceClassification

from lrp_hooks import ArgumentError, RuleSet, explain_many
from lrp_hooks.many import explaining, folders, identity
from lrp_hooks.many.identity import print_of
from many_texts import bytes_of, rows_of, some_texts
from shared_models import sentiment
from tiny_bert import tiny_bert

TEXTS = some_texts(20)


def many(out, texts=TEXTS, model=None, **options):
    """Random scores take no time."""
    options = {"method": "random_baseline", "part_size": 4, **options}
    if model is None:
        model = tiny_bert(BertForSequenceClassification)
    return explain_many(model, texts, out, tokenizer=sentiment()[1], **options)


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.parquet")}


def test_what_is_done_is_not_done_again(tmp_path):
    whole = bytes_of(many(tmp_path / "whole"))
    out = many(tmp_path / "out")
    for name in ("0000001.parquet", "0000004.parquet"):
        (out / name).unlink()
    before = stamps(out)
    (out / ".0123.part").write_bytes(b"half")
    assert bytes_of(many(out)) == whole
    assert before.items() <= stamps(out).items()
    assert not list(out.glob(".*.part"))


def test_an_error_keeps_what_was_done(tmp_path, monkeypatch):
    def failing(path, start, *rest, **more):
        if start == 8:
            raise RuntimeError("the disk is on fire")
        return real(path, start, *rest, **more)

    real = explaining.write
    monkeypatch.setattr(explaining, "write", failing)
    with pytest.raises(RuntimeError):
        many(tmp_path)
    assert len(stamps(tmp_path)) == 2
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it ended in order
        assert len(rows_of(many(tmp_path))) == 20


def test_readers_of_parquet_read_the_folder(tmp_path):
    many(tmp_path)
    frame = pandas.read_parquet(tmp_path)
    assert list(frame.columns) == ([
        "row",
        "tokens",
        "scores",
        "output",
        "target",
        "ledger",
        "error",
    ])
    assert frame.row.tolist() == list(range(20))
    others = {p.name for p in tmp_path.iterdir()} - set(stamps(tmp_path))
    assert all(name.startswith(("_", ".")) for name in others)


OTHER = {
    "data": {"texts": TEXTS[:4] + ["another"] + TEXTS[5:]},
    "data of fewer rows": {"texts": TEXTS[:16]},
    "data of more rows": {"texts": [*TEXTS[:-1]]},
    "method": {"method": "saliency"},
    "target": {"target": 1},
    "part_size": {"part_size": 5},
    "batch_size": {"batch_size": 2},
    "tokens_per_batch": {"tokens_per_batch": 64},
    "seed": {"seed": 5},
    "text": {"texts": [{"t": text} for text in TEXTS], "text": "t"},
    "weights": {"model": "other"},
    "config": {"model": "config"},
}


@pytest.mark.parametrize("name", OTHER)
def test_another_run_is_refused_by_what_differs(tmp_path, name):
    many(tmp_path)
    kept = bytes_of(tmp_path)
    more = dict(OTHER[name])
    if more.get("model") == "other":
        more["model"] = tiny_bert(BertForSequenceClassification, seed=1)
    elif more.get("model") == "config":
        more["model"] = tiny_bert(BertForSequenceClassification)
        more["model"].config.layer_norm_eps = 1e-3
    said = name.split(" ", maxsplit=1)[0]
    differ = f"explanations of .*: {said}(, class_specific)? differ"
    with pytest.raises(ArgumentError, match=differ):
        many(tmp_path, **more)
    assert bytes_of(tmp_path) == kept


@pytest.mark.parametrize("name", ["lrp_hooks", "torch", "transformers"])
def test_another_version_is_refused(tmp_path, name):
    many(tmp_path)
    path = tmp_path / "_manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {name: "0.0"}))
    with pytest.raises(ArgumentError, match=f"configuration: {name} differ"):
        many(tmp_path)


def test_the_manifest_says_which_scores_are_of_no_class(tmp_path):
    for method, said in (("lrp", None), ("attention_rollout", False)):
        out = many(tmp_path / method, method=method)
        manifest = json.loads((out / "_manifest.json").read_text())
        assert manifest.get("class_specific") is said


def test_a_file_that_changed_is_refused_at_once(tmp_path):
    data = tmp_path / "data.csv"
    pandas.DataFrame({"text": TEXTS}).to_csv(data)
    many(tmp_path / "out", data)
    pandas.DataFrame({"text": [*TEXTS, "more"]}).to_csv(data)
    with pytest.raises(ArgumentError, match="configuration: data differ"):
        many(tmp_path / "out", data)


def test_files_of_nobody_are_refused(tmp_path):
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(ArgumentError, match="but no _manifest.json"):
        many(tmp_path)


def test_a_damaged_part_is_named(tmp_path):
    many(tmp_path)
    (tmp_path / "0000002.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArgumentError, match="0000002.parquet.*computed anew"):
        many(tmp_path)


def test_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be used"):
        many(tmp_path / "file")


def test_no_rows(tmp_path):
    with pytest.raises(ArgumentError, match="no rows"):
        many(tmp_path, iter(()))


def test_a_run_of_another_machine_is_believed_to_live(tmp_path):
    who = {"pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00"}
    (tmp_path / folders.HOLDER).write_text(json.dumps(who))
    with pytest.raises(ArgumentError, match="process 1 on elsewhere.*delete"):
        many(tmp_path)
    (tmp_path / folders.HOLDER).unlink()
    many(tmp_path)


def test_a_lock_without_a_name_is_a_lock(tmp_path):
    with (
        FileLock(tmp_path / folders.LOCK),
        pytest.raises(ArgumentError, match="in use"),
    ):
        many(tmp_path)


def threshold(k):
    return lambda output: output.logits[:, k]


def test_the_print_of_a_function_is_what_it_does():
    assert print_of(threshold(0)) == print_of(threshold(0))
    assert print_of(threshold(0)) != print_of(threshold(1))
    assert print_of(lambda x: x + 1) != print_of(lambda x: x + 2)
    assert print_of({"a": (1, None)}) == {"a": [1, None]}
    assert print_of(torch.tensor([1.0])) != print_of(torch.tensor([2.0]))
    sets = [RuleSet.named("conservative"), RuleSet.named("attnlrp")]
    assert print_of(sets[0]) != print_of(sets[1])


def test_an_identity_says_every_version():
    found = identity.identity_of(*sentiment())
    assert {"lrp_hooks", "torch", "transformers", "weights", "tokenizer"} <= set(found)
    assert found["torch"].startswith(torch.__version__.split("+", maxsplit=1)[0])
