"""The large experiments, and classifiers of a user's own."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from closed_forms import IDS, drawn, published, published_ids, stored
from command_line import assert_refused
from lrp_hooks import ArgumentError, NonFiniteError, TextError, cli
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier

WORDS = [f"word{i}" for i in range(2, 12)]


def test_the_gradient_is_autograds_but_for_the_published_query():
    found = closed_form.quant_gradient(drawn(), [IDS, IDS])
    assert found.error.shape == (2,)
    assert (found.error < 1e-12).all()
    assert (found.published_error > 1e-3).all()
    golden = closed_form.quant_gradient(published(), [published_ids()])
    told = (
        stored("classifier")["grad_err_cls"]
        if "grad_err_cls" in stored("classifier")
        else 0.121
    )
    assert_close(golden.published_error.item(), told, rtol=0, atol=1e-3)


def test_lime_comes_to_its_limit_and_not_to_the_approximation():
    documents = [IDS]
    few, many = (
        closed_form.quant_lime(drawn(), documents, samples=n, repetitions=4)
        for n in (300, 20000)
    )
    assert many.words.tolist() == [6]
    assert many.limit_error < few.noise
    assert many.limit_error < 0.02 * many.norm
    assert many.approximation_error > 5 * many.limit_error
    assert many.noise < few.noise / 4


def test_no_documents_no_rows():
    assert closed_form.quant_lime(drawn(), []).norm.shape == (0,)
    assert closed_form.quant_gradient(drawn(), []).error.shape == (0,)


@pytest.mark.parametrize("options", [{}, {"scale": False, "positions": False}])
def test_a_classifier_comes_back_with_its_words(tmp_path, options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AttentionClassifier(12, 3, 8, 4, 12, value_dim=5, **options)
    closed_form.save_classifier(model, WORDS, tmp_path / "model.safetensors")
    again, words = closed_form.load_classifier(tmp_path / "model.safetensors")
    assert words == WORDS
    assert torch.equal(again(IDS[None]), model.eval()(IDS[None]))


def test_texts_become_documents():
    ids = closed_form.document("Word3, nothing word2!", WORDS, 6)
    assert ids.tolist() == [0, 3, 1, 2, 1, 1]
    cut = closed_form.document(" ".join(WORDS), WORDS, 4)
    assert cut.tolist() == [0, 2, 3, 4]
    with pytest.raises(TextError, match="no word of the classifier's vocabulary"):
        closed_form.document("nothing", WORDS)


def test_what_is_no_classifier_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ArgumentError, match="holds no classifier with its words"):
        closed_form.load_classifier(path)
    with pytest.raises(ArgumentError, match="none of an AttentionClassifier"):
        closed_form.from_state_dict({"embedding.weight": torch.zeros(3, 4)})
    with pytest.raises(ArgumentError, match="Give each id its word"):
        closed_form.save_classifier(drawn(), ["one"], path)


@pytest.mark.parametrize(
    ("place", "word", "said"),
    [
        (3, "Word5", "string of letters and digits in lower case"),
        (3, "two words", "string of letters and digits in lower case"),
        (3, "half-word", "string of letters and digits in lower case"),
        (3, "", "string of letters and digits in lower case"),
        (3, 5, "string of letters and digits in lower case"),
        (3, WORDS[1], r"stands at words\[1\], too"),
    ],
)
def test_words_that_no_text_has_or_two_ids_share_are_refused(
    tmp_path, place, word, said
):
    words = [*WORDS[:place], word, *WORDS[place + 1 :]]
    with pytest.raises(ArgumentError, match=rf"words\[{place}\]={word!r} .*{said}"):
        closed_form.save_classifier(drawn(), words, tmp_path / "bad.safetensors")
    assert not (tmp_path / "bad.safetensors").exists()


def test_a_folder_is_told_what_a_model_file_is(tmp_path, capsys):
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "no", "is not there")):
        code, out, err = run(capsys, "--model", str(path), "--text", "word2")
        assert_refused((code, out, err), said)
        assert (
            "one .safetensors file with the classifier's weights and its words" in err
        )
        assert "Error" not in err


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "mine.safetensors"
    closed_form.save_classifier(drawn(), WORDS, path)
    return str(path)


def test_the_command_shows_every_form_of_a_text(saved, capsys):
    text = "word2 word3 word2 word7"
    assert cli.main(["closed-forms", "--model", saved, "--text", text]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["word", "attention"]
    ids = closed_form.document(text, WORDS, 12)
    wanted = closed_form.lime_limit(drawn(), ids)
    assert [line.split()[0] for line in lines[1:5]] == text.split()
    assert f"{wanted[1]:+.4f}" in lines[1]
    assert "LIME, all 8 subsets" in out
    assert "FAILS" not in out


def test_the_commands_numbers_are_kept(saved, capsys):
    arguments = ["closed-forms", "--model", saved, "--text", "word2 word3"]
    assert cli.main([*arguments, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["holds"] is True
    assert record["tokens"] == ["word2", "word3"]
    ids = closed_form.document("word2 word3", WORDS, 12)
    wanted = closed_form.attention(drawn(), ids)[1:3]
    assert_close(torch.tensor(record["scores"]["attention"]).double(), wanted)


def test_a_long_text_is_verified_as_far_as_it_goes(tmp_path, capsys):
    words = [f"w{i}" for i in range(30)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AttentionClassifier(32, 2, 8, 4, 40)
    path = str(tmp_path / "long.safetensors")
    closed_form.save_classifier(model, words, path)
    assert cli.main(["closed-forms", "--model", path, "--text", " ".join(words)]) == 0
    out = capsys.readouterr().out
    assert "gradient against autograd" in out
    assert "at most 12 distinct words" in out


def run(capsys, *arguments):
    code = cli.main(["closed-forms", *arguments])
    return code, *capsys.readouterr()


def test_a_model_needs_a_text(saved, capsys, tmp_path):
    assert_refused(run(capsys, "--model", saved), "--text TEXT")
    assert_refused(run(capsys, "--text", "word2"), "--model FILE")
    missing = str(tmp_path / "none.safetensors")
    assert_refused(run(capsys, "--model", missing, "--text", "word2"), "none.safe")
    assert_refused(run(capsys, "--model", saved, "--text", "zzz"), "zzz")


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"samples": -5}, {"repetitions": 1}, {"samples": 2.5}]
)
def test_too_few_runs_are_refused(options):
    with pytest.raises(ArgumentError, match=f"{next(iter(options))}=.*whole number"):
        closed_form.quant_lime(drawn(), [IDS], **options)


def test_weights_that_vanish_beside_what_is_removed_are_told():
    model = drawn()
    for parameter in model.parameters():
        parameter.data.mul_(300)
    with pytest.raises(NonFiniteError, match="attention weight of 0"):
        closed_form.quant_lime(model, [IDS], samples=50, repetitions=2)
