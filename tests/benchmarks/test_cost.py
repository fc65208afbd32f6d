"""The cost benchmark's arithmetic, on fakes; and its tables, on what it measured."""

from contextlib import contextmanager
from itertools import count

import pytest
import torch

from benchmarks.cost import attention, cases, edges, memory, report, run, timing

CONFIG = cases.load_config()


def entry(**seconds):
    peaks = {"forward": 1, "gradient_x_input": 4, "attribute conservative": 3}
    return {
        "model": "toy",
        "batch": 1,
        "length": 8,
        "seconds": {name.replace("_", " ", 1): v for name, v in seconds.items()},
        "peak_bytes": peaks,
    }


def test_cpu_seconds_reads_the_clock_around_the_call():
    clock = iter([10.0, 12.5])
    calls = []
    seconds = timing.cpu_seconds(lambda: calls.append(1), clock=lambda: next(clock))
    assert seconds == 2.5
    assert calls == [1]


def test_each_round_runs_every_method_from_another_first_one():
    order = []

    def fake(name):
        return lambda: order.append(name) or 1.0

    seconds = timing.interleave({n: fake(n) for n in "abc"}, budget=99, rounds=(1, 3))
    assert "".join(order) == "abcbcacab"
    assert seconds == {name: [1.0] * 3 for name in "abc"}


@pytest.mark.parametrize(
    ("budget", "rounds", "expected"),
    [(0.0, (2, 9), 2), (3.5, (1, 9), 4), (99.0, (1, 5), 5)],
)
def test_rounds_end_with_the_budget_but_not_before_the_least(budget, rounds, expected):
    seconds = timing.interleave({"a": lambda: 1.0}, budget, rounds)
    assert len(seconds["a"]) == expected


def test_the_median_is_of_the_ratios_of_each_round():
    seconds = {"mine": [1.0, 6.0, 9.0], "base": [2.0, 2.0, 3.0]}
    assert timing.ratios(seconds, "mine", "base") == [0.5, 3.0, 3.0]
    assert timing.median_ratio(seconds, "mine", "base") == 3.0


def test_preparing_a_method_is_not_timed():
    ticks = count()

    @contextmanager
    def slow_to_prepare(model, batch):
        next(ticks)
        yield lambda: None
        next(ticks)

    assert timing.timed(slow_to_prepare, None, {}, lambda: next(ticks)) == 1


def test_cases_start_with_the_cheapest_and_are_named_by_their_size():
    found = list(cases.cases(CONFIG))
    assert len(found) == 2 * 3 * 2
    assert found[0].name == "bert-base 1x32"
    tokens = [case.tokens for case in found if case.model == "bert-base"]
    assert tokens == sorted(tokens)


def test_a_warm_up_is_never_larger_than_its_case():
    assert cases.Case("m", 8, 512).warm_up() == cases.Case("m", 1, 128)
    assert cases.Case("m", 8, 32).warm_up() == cases.Case("m", 1, 32)


def test_resident_memory_is_read_in_bytes():
    assert memory.resident("VmHWM", "VmPeak:\t  9 kB\nVmHWM:\t  2 kB\n") == 2048
    with pytest.raises(ValueError, match="VmHWM"):
        memory.resident("VmHWM", "VmPeak:\t 9 kB\n")


def test_results_are_taken_up_only_where_they_were_measured_alike(tmp_path):
    path = tmp_path / "results.json"
    new = run.start(path, CONFIG, fresh=False)
    new["cases"]["x"] = {}
    run.save(new, path)
    assert run.start(path, CONFIG, fresh=False) == new
    assert run.start(path, CONFIG, fresh=True)["cases"] == {}
    with pytest.raises(SystemExit, match="config"):
        run.start(path, CONFIG | {"seed": 1}, fresh=False)


def test_measured_cases_are_not_measured_again():
    done = {"seconds": {}, "peak_bytes": {}}
    case = cases.Case("absent", 1, 1)
    results = {"config": CONFIG, "cases": {case.name: done.copy()}}
    run.measure_time(results, case)
    run.measure_memory(results, case)
    assert results["cases"][case.name] == done


def test_markers_keep_what_stands_around_them():
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    once = report.put(text, "x", "new")
    assert once == "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n"
    assert report.put(once, "x", "new") == once
    with pytest.raises(ValueError, match="y:begin"):
        report.put(text, "y", "new")


def test_a_table_has_one_row_a_case():
    results = {"cases": {"c": entry(forward=[2.0])}}
    table = report.table(results, {"s": lambda e: e["seconds"]["forward"][0]})
    assert table.splitlines() == [
        "| model | batch x tokens | s |",
        "| --- | --- | ---: |",
        "| toy | 1 x 8 | 2.00 |",
    ]


def test_a_verdict_counts_and_names_the_worst():
    entries = [entry() | {"length": 8, "r": 0.9}, entry() | {"length": 9, "r": 1.25}]
    line = report.verdict("CPU time", entries, lambda e: e["r"])
    assert "1 of 2 cases" in line
    assert "1.25 (toy 1 x 9)" in line


def test_peaks_are_compared_with_gradient_x_input():
    assert report.peak_ratio(entry(), "attribute conservative") == 0.75


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_the_readmes_show_the_committed_results(index):
    path, name, table = report.documents(*report.saved())[index]
    text = path.read_text(encoding="utf-8")
    assert report.put(text, name, table) == text


def test_the_committed_results_are_of_the_committed_configuration():
    configs = (CONFIG, cases.load_config(path=edges.CONFIG))
    for results, config in zip(report.saved(), configs, strict=False):
        assert results["config"] == config
        assert list(results["cases"]) == [case.name for case in cases.cases(config)]
    attending = report.saved()[-1]
    assert attending["config"] == attention.CONFIG
    lengths = [entry["length"] for entry in attending["cases"].values()]
    assert lengths[::2] == lengths[1::2] == attention.CONFIG["tokens"]


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_products_are_those_of_a_gradient_without_its_softmax(is_causal):
    torch.manual_seed(0)
    q, k, g = torch.randn(3, 70, 4).unbind()
    scores = q @ k.T
    expected = scores
    found = attention.products(q, k, g, 16, is_causal)
    if is_causal:  # in blocks on the diagonal nothing is left out
        blocks = torch.ones(5, 5).tril().repeat_interleave(16, 0)
        expected = scores * blocks.repeat_interleave(16, 1)[:70, :70]
    torch.testing.assert_close(found, expected.T @ g)


def test_the_readme_shows_the_dearest_of_all_cases():
    def at(length, mine):
        times = {"forward": [1.0], "gradient_x_input": [2.0]}
        times["attribute conservative"] = [mine]
        return entry() | {"length": length, "seconds": times}

    about = dict.fromkeys(
        ("threads", "cores", "cpu", "python", "torch", "transformers", "lrp_hooks"), 1
    )
    many, few = (
        {"cases": found, "environment": about, "date": "now"}
        for found in (
            {str(n): at(n, n / 10) for n in range(20, 24)},
            {"8": at(8, 3.0)},
        )
    )
    del few["cases"]["8"]["peak_bytes"]  # of which no memory was taken
    text = report.summary(many, few)
    rows = text.splitlines()[4:7]
    assert [row.split("|")[5].strip() for row in rows] == ["-", "0.75", "0.75"]
    assert "in 1 of 5 cases" in text
    assert "in 4 of 4 cases" in text
    assert [row.split("|")[2].strip() for row in rows] == ["1 x 8", "1 x 23", "1 x 22"]


def test_a_shape_may_have_lengths_of_its_own():
    shapes = {"wide": {}, "long": {"lengths": [9]}}
    found = cases.cases({"models": shapes, "lengths": [4, 2], "batches": [1]})
    assert [case.name for case in found] == ["wide 1x2", "wide 1x4", "long 1x9"]
    quick = cases.load_config(quick=True, path=edges.CONFIG)
    assert {case.length for case in cases.cases(quick)} == {16}
