"""``lrp-hooks circuit``: the strongest nodes, a page, and a graph for other pages."""

import json

import pytest

from command_line import assert_refused
from lrp_hooks import cli, find_circuit
from lrp_hooks.sentiment import sentiment_model

TEXT = "short, but not at all sweet"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main(["circuit", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def direct(target=None, **options):
    model, tokenizer = sentiment_model()
    return find_circuit(model, TEXT, target, tokenizer=tokenizer, **options)


def test_the_strongest_nodes_are_listed(run):
    code, out, _ = run(TEXT, "--max-nodes", 5, "--target", "negative")
    found = direct("negative", max_nodes=5)
    assert code == 0
    assert f"target  negative\noutput  {found.output:+.4f}" in out
    strongest = found.kept[0]
    line = next(
        line
        for line in out.splitlines()
        if line.startswith("  ")
        and f"neuron {strongest.layer}.{strongest.index} " in line
    )
    assert float(line.split()[0]) == pytest.approx(strongest.relevance, abs=1e-4)
    assert "5 neurons and heads" in out


def test_page_and_graph_are_those_of_the_library(run, tmp_path):
    page, graph = tmp_path / "page.html", tmp_path / "graph.json"
    options = ("--nodes", "neurons,heads", "--share", 0.5, "--rules", "attnlrp")
    code, _, _ = run(TEXT, *options, "--html", page, "--json", graph)
    found = direct(nodes=("neurons", "heads"), share=0.5, rules="attnlrp")
    assert code == 0
    assert page.read_text() == found.to_html()
    assert json.loads(graph.read_text()) == found.attribution_graph()


def test_a_graph_goes_to_standard_output(run):
    _, out, _ = run(TEXT, "--max-nodes", 3, "--json", "-")
    assert json.loads(out)["metadata"]["prompt"] == TEXT


def test_ablation_is_told(run):
    _, out, _ = run(TEXT, "--max-nodes", 50, "--check")
    found = direct(max_nodes=50)
    assert f"  {found.faithfulness():.3f}  with these alone" in out
    assert f"  {found.completeness():.3f}  with all but these" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nodes", "neuron"), "'neurons'"),
        (("--share", "0"), "--share"),
        (("--share", "much"), "--share"),
        (("--max-nodes", "0"), "--max-nodes"),
        (("--rules", "lrp"), "'lrp'"),
        (("--target", "sad"), "'sad'"),
        (("--html", "page.json"), "--html"),
    ],
)
def test_bad_arguments_are_refused(run, arguments, said):
    assert_refused(run(TEXT, *arguments), said)
