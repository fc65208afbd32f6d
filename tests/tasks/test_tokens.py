"""Token classification: which logit is explained, and what is asked of a caller."""

import pytest
import torch
from transformers import BertForTokenClassification

from lrp_hooks import TargetError, explain, faithfulness, instrument
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

TEXT = "the film is a delight"
LABELS = ["O", "B-PER", "I-PER"]
_, TOKENIZER = sentiment_model()


@pytest.fixture(scope="module")
def tagger():
    return tiny_bert(
        BertForTokenClassification,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )


def logits_of(tagger, text=TEXT):
    with torch.no_grad():
        return tagger(**TOKENIZER(text, return_tensors="pt")).logits[0]


def test_the_strongest_entity_is_found_by_its_probability(tagger):
    found = explain(tagger, TEXT, tokenizer=TOKENIZER)
    chances = {}
    for place, row in enumerate(logits_of(tagger).tolist()):
        if 0 < place < 6:  # [CLS] and [SEP] are no words
            total = sum(torch.tensor(row).exp().tolist())
            for label in (1, 2):
                chances[place, label] = torch.tensor(row[label]).exp().item() / total
    place, label = max(chances, key=chances.get)
    assert found.targets == [f"{LABELS[label]} at {place} ({TEXT.split()[place - 1]})"]
    assert found.output.item() == pytest.approx(logits_of(tagger)[place, label].item())
    assert found.meta["task"] == "token classification"


@pytest.mark.parametrize("where", [2, "film"])
@pytest.mark.parametrize("label", [1, "B-PER"])
def test_a_label_at_a_token_is_that_logit(tagger, where, label):
    found = explain(tagger, TEXT, tokenizer=TOKENIZER, target=(where, label))
    with instrument(tagger) as lrp:
        batch = dict(TOKENIZER(TEXT, return_tensors="pt"))
        wanted = lrp.attribute(batch, target=lambda output: output.logits[:, 2, 1])
    assert torch.equal(found.scores, wanted.scores)
    assert found.targets == ["B-PER at 2 (film)"]


@pytest.mark.parametrize("method", ["lime", "leave_one_out", "integrated_gradients"])
def test_methods_that_run_often_keep_to_the_token(tagger, method):
    found = explain(tagger, TEXT, method, TOKENIZER, target=(2, "B-PER"))
    assert found.output.item() == pytest.approx(logits_of(tagger)[2, 1].item())


def test_leaving_out_explains_the_logit_at_the_token(tagger):
    found = explain(tagger, TEXT, "leave_one_out", TOKENIZER, target=(2, "B-PER"))
    ids = TOKENIZER(TEXT, return_tensors="pt")["input_ids"]
    for place in range(1, 6):
        taken = ids.clone()
        taken[0, place] = TOKENIZER.mask_token_id
        with torch.no_grad():
            left = tagger(taken).logits[0, 2, 1]
        drop = (logits_of(tagger)[2, 1] - left).item()
        assert found.scores[0, place].item() == pytest.approx(drop, abs=1e-6)


def test_each_example_has_its_own_token(tagger):
    found = explain(
        tagger, ["good film", TEXT], "lrp", TOKENIZER, target=[(1, 2), ("a", 0)]
    )
    wanted = [logits_of(tagger, "good film")[1, 2], logits_of(tagger)[4, 0]]
    assert found.output.tolist() == pytest.approx([w.item() for w in wanted])
    assert found.targets == ["I-PER at 1 (good)", "O at 4 (a)"]


def test_all_entities_are_rows(tagger):
    found = explain(tagger, TEXT, tokenizer=TOKENIZER, target="entities")
    said = logits_of(tagger).argmax(-1).tolist()
    places = [place for place in range(1, 6) if said[place] != 0]
    assert places and len(found.scores) == len(places)
    for row, place in enumerate(places):
        one = explain(tagger, TEXT, tokenizer=TOKENIZER, target=(place, said[place]))
        assert torch.allclose(found.scores[row], one.scores[0])
    assert [t.split()[2] for t in found.targets] == [str(place) for place in places]


@pytest.mark.parametrize("target", [1, "B-PER", (1, 1, 1), [1]])
def test_a_label_without_a_token_is_asked_for_one(tagger, target):
    with pytest.raises(TargetError, match="leaves open which token"):
        explain(tagger, TEXT, tokenizer=TOKENIZER, target=target)


def test_without_a_tokenizer_no_token_is_guessed(tagger):
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with pytest.raises(TargetError, match="Pass the tokenizer"):
        explain(tagger, ids)
    assert explain(tagger, ids, target=(1, 1)).targets == ["B-PER at 1"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ((7, 1), "from 0 to 6"),
        ((-1, 1), "from 0 to 6"),
        (("good", 1), "is not in it"),
        ((2, 3), "out of range"),
        ((2, "LOC"), "its labels are 'O', 'B-PER', 'I-PER'"),
        ([(1, 1), (2, 1)], "2 entries for 1 examples"),
    ],
)
def test_bad_targets_say_what_is_allowed(tagger, target, said):
    with pytest.raises(TargetError, match=said):
        explain(tagger, TEXT, tokenizer=TOKENIZER, target=target)


def test_a_word_that_stands_twice_is_no_place(tagger):
    with pytest.raises(TargetError, match=r"positions \[1, 3\]"):
        explain(tagger, "the film the", tokenizer=TOKENIZER, target=("the", 1))


@pytest.mark.parametrize("method", ["slalom", "lime"])
def test_methods_that_take_tokens_out_are_refused(tagger, method):
    options = {"replace_with": "delete"} if method == "lime" else {}
    with pytest.raises(ValueError, match="move"):
        explain(tagger, TEXT, method, TOKENIZER, target=(2, 1), **options)


def test_faithfulness_reads_the_logit_itself(tagger):
    batch = TOKENIZER(TEXT, return_tensors="pt")["input_ids"]
    scores = torch.arange(7.0, 0, -1)[None]
    mask = TOKENIZER.mask_token_id
    curve = faithfulness.aopc(tagger, batch, scores, (3, 1), mask, special_ids=[2, 3])
    gone = batch.clone()
    gone[0, 1:4] = mask
    with torch.no_grad():
        drop = tagger(batch).logits[0, 3, 1] - tagger(gone).logits[0, 3, 1]
    taken = curve.fractions.tolist().index(0.6)  # of five tokens three
    assert curve.values[0, taken].item() == pytest.approx(drop.item())
    with pytest.raises(TargetError, match="leaves open which token"):
        faithfulness.aopc(tagger, batch, scores, 1, mask)
