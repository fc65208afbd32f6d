"""Documents beyond the model's positions: windows, and the joining that adds up."""

import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    ByT5Tokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

from lrp_hooks import (
    ArgumentError,
    Contrast,
    Explanation,
    Relevance,
    TargetError,
    TextError,
    compare,
    explain,
    instrument,
)
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.texts.windows import documents

_, TOKENIZER = sentiment_model()
LIMIT = 12
ROOM = LIMIT - 2
WORDS = "the film is a delight and the plot was funny but not too long for me".split()
LONG = " ".join(WORDS + WORDS[::-1])
SHORT = "a good film"
LABELS = ["O", "B-PER", "I-PER"]


def built(kind, seed=0, positions=LIMIT, **more):
    torch.default_generator.manual_seed(seed)
    config = BertConfig(
        vocab_size=6000,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.4,
        max_position_embeddings=positions,
        **more,
    )
    return kind(config).double().eval()


@pytest.fixture(scope="module")
def classifier():
    return built(BertForSequenceClassification, num_labels=3)


def cut(text, stride, limit=LIMIT):
    """Windows as the fast tokenizer cuts them, with the position of each token."""
    batch = TOKENIZER(
        text,
        truncation=True,
        max_length=limit,
        stride=stride,
        return_overflowing_tokens=True,
    )
    length = len(TOKENIZER(text)["input_ids"])
    found, start = [], 1
    for ids in batch["input_ids"]:
        own = len(ids) - 2
        found.append((ids, [0, *range(start, start + own), length - 1]))
        start += limit - 2 - stride
    assert found[-1][1][-2] == length - 2
    return found, length


def by_hand(model, text, stride, target):
    """Scores, outputs and ledgers of each window, by a plain loop."""
    windows, length = cut(text, stride)
    scores, outputs, inputs, sources = [0.0] * length, [], [], {}
    with instrument(model) as lrp:
        for ids, places in windows:
            one = lrp.attribute({"input_ids": torch.tensor([ids])}, target=target)
            for place, score in zip(places, one.scores[0].tolist(), strict=True):
                scores[place] += score / len(windows)
            outputs.append(one.output.item())
            inputs.append(one.ledger.inputs.item())
            for name, value in one.ledger.sources.items():
                sources.setdefault(name, []).append(value.item())
    return scores, outputs, inputs, sources


def mean_logits(model, text, stride):
    windows, _ = cut(text, stride)
    with torch.no_grad():
        rows = [model(torch.tensor([ids])).logits[0] for ids, _ in windows]
    return sum(rows) / len(rows)


@pytest.mark.parametrize("stride", [0, 3, 9])
@pytest.mark.parametrize("target", [None, 1])
def test_scores_and_ledger_are_those_of_windows_cut_by_hand(classifier, stride, target):
    found = explain(classifier, LONG, "lrp", TOKENIZER, target, stride=stride)
    chosen = (
        int(mean_logits(classifier, LONG, stride).argmax())
        if target is None
        else target
    )
    scores, outputs, inputs, sources = by_hand(classifier, LONG, stride, chosen)
    n = len(outputs)
    assert isinstance(found, Relevance)
    assert found.target.tolist() == [chosen]
    assert found.scores[0].tolist() == pytest.approx(scores, abs=1e-10)
    assert found.output.item() == pytest.approx(sum(outputs) / n, abs=1e-10)
    ledger = found.ledger
    assert ledger.inputs.item() == pytest.approx(sum(inputs) / n, abs=1e-10)
    assert set(ledger.sources) == set(sources)
    for name, values in sources.items():
        wanted = sum(values) / n
        assert ledger.sources[name].item() == pytest.approx(wanted, abs=1e-10)
    assert found.scores.sum().item() == pytest.approx(ledger.inputs.item(), abs=1e-10)
    assert ledger.total.item() == pytest.approx(found.output.item(), abs=1e-10)
    for name, part in ledger.positions.items():
        assert torch.allclose(part.sum(1), ledger.sources[name], atol=1e-10)
    assert found.complete().sum().item() == pytest.approx(ledger.total.item())
    assert torch.allclose(found.values.sum(-1), found.scores, atol=1e-10)


def test_meta_tells_the_windows(classifier):
    found = explain(classifier, LONG, tokenizer=TOKENIZER, stride=4)
    (told,) = found.meta["windows"]
    windows, length = cut(LONG, 4)
    outputs = by_hand(classifier, LONG, 4, found.target.item())[1]
    assert told["count"] == len(windows)
    assert told["stride"] == 4
    assert told["tokens"] == [[at[1], at[-2] + 1] for _, at in windows]
    assert told["explained"] == list(range(len(windows)))
    assert told["outputs"] == pytest.approx(outputs)
    assert found.meta["task"] == "classification"
    assert found.tokens == [TOKENIZER(LONG).tokens()]
    assert found.meta["special"] == [[True, *[False] * (length - 2), True]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(4, 20), st.data())
def test_every_token_is_read_in_order(classifier, n, limit, data):
    stride = data.draw(st.integers(0, limit - 3))
    text = " ".join((WORDS * 4)[:n])
    ids = TOKENIZER(text)["input_ids"]
    model = nn.Module()
    model.forward = lambda input_ids: input_ids
    model.config = BertConfig(max_position_embeddings=limit)
    _, (found,) = documents(model, TOKENIZER, [text], stride)
    assert found.whole.tokens == [TOKENIZER(text).tokens()]
    shown = [w.encoded.batch["input_ids"][0].tolist() for w in found.windows]
    assert shown == [own for own, _ in cut(text, stride, limit)[0]]
    read = []
    for window, own in zip(found.windows, shown, strict=True):
        assert len(own) <= limit
        assert own == [ids[place] for place in window.places]
        read += [p for p in range(window.start, window.stop) if p not in read]
    assert read == list(range(1, len(ids) - 1))
    for place in read:
        best = max(window.context(place) for window in found.windows)
        assert found.windows[found.own(place)].context(place) == best >= 0


def test_slow_tokenizers_are_cut_alike(classifier):
    slow = ByT5Tokenizer()
    text = "not bad at all, the film"
    *ids, end = slow(text)["input_ids"]
    stride, room, start, wanted = 4, LIMIT - 1, 0, []
    while not wanted or start + stride < len(ids):
        wanted.append([*ids[start : start + room], end])
        start += room - stride
    _, (mine,) = documents(classifier, slow, [text], stride)
    shown = [w.encoded.batch["input_ids"][0].tolist() for w in mine.windows]
    assert shown == wanted
    found = explain(classifier, text, "lrp", slow, 1, stride=stride)
    assert len(found.tokens[0]) == len(ids) + 1
    assert found.ledger.error.item() < 1e-10


@pytest.mark.parametrize("text", [SHORT, [SHORT, "not bad at all"], ("a", "film")])
@pytest.mark.parametrize("method", ["lrp", "leave_one_out"])
def test_a_short_text_stays_as_it_was(classifier, text, method):
    plain = explain(classifier, text, method, TOKENIZER)
    found = explain(classifier, text, method, TOKENIZER, stride=500)
    assert torch.equal(found.scores, plain.scores)
    assert torch.equal(found.output, plain.output)
    assert found.meta == plain.meta and found.tokens == plain.tokens


@pytest.mark.parametrize("target", [None, 2, [0, 1, 2], torch.tensor([2, 1, 0])])
def test_long_and_short_texts_together(classifier, target):
    texts = [LONG, SHORT, " ".join(WORDS)]
    found = explain(classifier, texts, "lrp", TOKENIZER, target, stride=2)
    assert found.attended.sum(1).tolist() == [len(row) for row in found.tokens]
    for row, text in enumerate(texts):
        own = target[row] if isinstance(target, list | torch.Tensor) else target
        one = explain(
            classifier, text, "lrp", TOKENIZER, None if own is None else int(own), 2
        )
        n = len(one.tokens[0])
        assert found.tokens[row] == one.tokens[0]
        assert torch.allclose(found.scores[row, :n], one.scores[0], atol=1e-10)
        assert not found.scores[row, n:].any()
        assert torch.allclose(found.output[row], one.output[0])
    assert [told["count"] for told in found.meta["windows"]] == [4, 1, 2]
    assert float(found.ledger.error.max()) < 1e-10


def test_contrasts_and_functions_are_fixed_targets(classifier):
    a, b, both, function = (
        explain(classifier, [LONG, SHORT], "lrp", TOKENIZER, target, stride=2)
        for target in (
            [1, 0],
            2,
            Contrast([1, 0], 2),
            lambda output: output.logits[:, 2],
        )
    )
    assert torch.allclose(both.scores, a.scores - b.scores, atol=1e-10)
    assert both.targets == [
        "LABEL_1 rather than LABEL_2",
        "LABEL_0 rather than LABEL_2",
    ]
    assert torch.allclose(function.scores, b.scores, atol=1e-10)


def test_the_first_of_a_pair_is_in_every_window(classifier):
    first = "is it funny ?"
    found = explain(classifier, (first, LONG), "lrp", TOKENIZER, 0, stride=2)
    whole = TOKENIZER(first, LONG)
    batch = TOKENIZER(
        first,
        LONG,
        truncation="only_second",
        max_length=LIMIT,
        stride=2,
        return_overflowing_tokens=True,
        return_tensors="pt",
        padding=True,
    )
    assert found.tokens == [whole.tokens()]
    total = torch.zeros(len(whole["input_ids"]), dtype=torch.float64)
    n, head, start = len(batch["input_ids"]), 6, 6
    with instrument(classifier) as lrp:
        for row in range(n):
            kept = batch["attention_mask"][row].bool()
            one = lrp.attribute(
                {"input_ids": batch["input_ids"][row : row + 1, kept]}, target=0
            ).scores[0]
            own = len(one) - head - 1
            total[:head] += one[:head] / n
            total[start : start + own] += one[head:-1] / n
            total[-1] += one[-1] / n
            start += LIMIT - head - 1 - 2
    assert torch.allclose(found.scores[0], total, atol=1e-10)
    assert found.meta["segments"][0].count(0) == head
    assert found.meta["windows"][0]["count"] == n


@pytest.mark.parametrize("method", ["decompx", "leave_one_out", "attention_rollout"])
def test_other_methods_are_means_too(classifier, method):
    found = explain(classifier, LONG, method, TOKENIZER, 1, stride=3)
    assert type(found) is Explanation
    windows, length = cut(LONG, 3)
    total = torch.zeros(length, dtype=torch.float64)
    for ids, places in windows:
        one = explain(classifier, torch.tensor([ids]), method, TOKENIZER, 1).scores[0]
        total[places] += one / len(windows)
    assert torch.allclose(found.scores[0], total.to(found.scores))
    if method == "leave_one_out":
        one = explain(classifier, torch.tensor([windows[0][0]]), method, TOKENIZER, 1)
        assert found.meta["model_calls"] > one.meta["model_calls"]


def test_columns_behind_the_tokens_stay_behind(classifier):
    found = explain(
        classifier, [LONG, SHORT], "decompx", TOKENIZER, 1, stride=3, bias="token"
    )
    plain = explain(classifier, SHORT, "decompx", TOKENIZER, 1, bias="token")
    assert found.scores.shape[1] == len(found.tokens[0]) + 1
    assert torch.allclose(found.scores[1, -1], plain.scores[0, -1])
    assert torch.allclose(found.scores.sum(1), found.output)


def best_answer(reader, pair, stride):
    """The best span over windows, by looking at each."""
    batch = TOKENIZER(
        *pair,
        truncation="only_second",
        max_length=LIMIT,
        stride=stride,
        return_overflowing_tokens=True,
    )
    best = None
    for row, ids in enumerate(batch["input_ids"]):
        kept = [p for p, part in enumerate(batch.sequence_ids(row)) if part == 1]
        with torch.no_grad():
            out = reader(torch.tensor([ids]))
        for first in kept:
            for last in kept:
                total = float(out.start_logits[0, first] + out.end_logits[0, last])
                if first <= last and (best is None or total > best[0]):
                    spelled = TOKENIZER.decode(ids[first : last + 1])
                    best = (total, row, spelled)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_best_answer_of_all_windows_alone_is_explained(seed):
    reader = built(BertForQuestionAnswering, seed)
    pair = ("is it ?", LONG)
    total, window, spelled = best_answer(reader, pair, 3)
    found = explain(reader, pair, tokenizer=TOKENIZER, stride=3)
    assert found.output.item() == pytest.approx(total)
    assert found.targets == [f"the answer {spelled!r}"]
    (told,) = found.meta["windows"]
    assert told["explained"] == [window]
    start, stop = told["tokens"][window]
    outside = [*range(5, start), *range(stop, len(found.tokens[0]) - 1)]
    assert outside and not found.scores[0, outside].any()
    assert found.scores[0, start:stop].all()
    assert found.ledger.error.item() < 1e-10
    ends = [
        explain(reader, pair, "lrp", TOKENIZER, end, stride=3).output.item()
        for end in ("start", "end")
    ]
    assert sum(ends) == pytest.approx(total)


def test_a_span_is_read_in_a_window_that_has_it():
    reader = built(BertForQuestionAnswering)
    pair = ("is it ?", LONG)
    found = explain(reader, pair, "lrp", TOKENIZER, (20, 21), stride=3)
    said = TOKENIZER.decode(TOKENIZER(*pair)["input_ids"][20:22])
    assert found.targets == [f"the answer {said!r}"]
    with pytest.raises(TargetError, match="no window has as a whole"):
        explain(reader, pair, "lrp", TOKENIZER, (6, 30), stride=3)


def in_its_window(place, stride):
    """The window in which a token has most context, and where it stands there."""
    best = None
    for ids, places in cut(LONG, stride)[0]:
        if place in places[1:-1]:
            at = places.index(place)
            context = min(at, len(ids) - 1 - at)
            if best is None or context > best[0]:
                best = (context, ids, at)
    return best[1:]


@pytest.mark.parametrize("place", [1, 9, 12, 17, 30])
def test_a_label_is_read_where_its_token_has_most_context(place):
    tagger = built(
        BertForTokenClassification,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )
    found = explain(tagger, LONG, "lrp", TOKENIZER, (place, "B-PER"), stride=6)
    ids, at = in_its_window(place, 6)
    with torch.no_grad():
        wanted = tagger(torch.tensor([ids])).logits[0, at, 1].item()
    assert found.output.item() == pytest.approx(wanted)
    assert found.targets == [f"B-PER at {place} ({found.tokens[0][place]})"]
    assert found.ledger.total.item() == pytest.approx(wanted, abs=1e-10)
    with pytest.raises(TargetError, match="from 0 to"):
        explain(tagger, LONG, "lrp", TOKENIZER, (90, 1), stride=6)
    with pytest.raises(TargetError, match="from 0 to 4"):
        explain(tagger, [LONG, SHORT], "lrp", TOKENIZER, (7, 1), stride=6)


def test_entities_of_documents_are_rows():
    tagger = built(BertForTokenClassification, id2label=dict(enumerate(LABELS)))
    texts = [LONG, SHORT]
    found = explain(tagger, texts, "lrp", TOKENIZER, "entities", stride=6)
    wanted = []
    for place in range(1, len(TOKENIZER(LONG)["input_ids"]) - 1):
        ids, at = in_its_window(place, 6)
        with torch.no_grad():
            logits = tagger(torch.tensor([ids])).logits[0, at]
        if logits.argmax() > 0:
            wanted.append((place, logits.max().item()))
    long = [row for row, tokens in enumerate(found.tokens) if len(tokens) > 6]
    assert [int(found.targets[row].split()[2]) for row in long] == [
        p for p, _ in wanted
    ]
    assert found.output[long].tolist() == pytest.approx([v for _, v in wanted])
    strongest = explain(tagger, texts, "lrp", TOKENIZER, stride=6)
    assert len(strongest.output) == 2


def test_a_mask_is_read_in_its_own_window():
    filler = built(BertForMaskedLM)
    words = LONG.split()
    words[16] = "[MASK]"
    text = " ".join(words)
    found = explain(filler, text, "lrp", TOKENIZER, "good", stride=4)
    assert found.targets == ["good at 17"]
    ids, at = [
        (ids, places.index(17)) for ids, places in cut(text, 4)[0] if 17 in places
    ][0]
    word = TOKENIZER.convert_tokens_to_ids("good")
    with torch.no_grad():
        wanted = filler(torch.tensor([ids])).logits[0, at, word].item()
    assert found.output.item() == pytest.approx(wanted)
    assert found.meta["task"] == "masked token"


@pytest.mark.parametrize("stride", [-1, 2.0, "4", True])
def test_a_stride_is_a_whole_number(classifier, stride):
    for text in (LONG, SHORT):
        with pytest.raises(ArgumentError, match="stride=.* must be a whole number"):
            explain(classifier, text, tokenizer=TOKENIZER, stride=stride)


@pytest.mark.parametrize("stride", [ROOM, 64])
def test_a_stride_is_smaller_than_the_room(classifier, stride):
    with pytest.raises(ArgumentError, match=rf"stride={stride}.*from 0 to {ROOM - 1}"):
        explain(classifier, LONG, tokenizer=TOKENIZER, stride=stride)


def test_refusals_say_what_to_do(classifier):
    with pytest.raises(TextError, match="pass stride="):
        explain(classifier, LONG, tokenizer=TOKENIZER)
    with pytest.raises(TextError, match="text 2 leaves no room.*Shorten the first"):
        explain(classifier, [SHORT, (LONG, SHORT)], tokenizer=TOKENIZER, stride=2)
    with pytest.raises(ArgumentError, match="inputs_or_text is a Tensor"):
        explain(classifier, torch.ones(1, 3, dtype=torch.long), stride=2)
    with pytest.raises(TargetError, match="3 entries for 2"):
        explain(classifier, [LONG, SHORT], "lrp", TOKENIZER, [1, 2, 0], stride=2)
    with pytest.raises(ArgumentError, match="target='all'"):
        explain(classifier, LONG, "decompx", TOKENIZER, "all", stride=2)


def test_what_comes_next_is_said_of_the_end_alone():
    config = GPT2Config(
        vocab_size=6000, n_embd=8, n_layer=1, n_head=2, n_positions=LIMIT
    )
    writer = GPT2LMHeadModel(config).eval()
    with pytest.raises(ArgumentError, match="Pass the end alone, at most 12 tokens"):
        explain(writer, LONG, tokenizer=TOKENIZER, stride=2)
    explain(writer, SHORT, tokenizer=TOKENIZER, stride=2)


def test_choices_are_not_cut():
    chooser = built(BertForMultipleChoice)
    with pytest.raises(ArgumentError, match="Leave stride= out"):
        explain(chooser, (LONG, ["a", "b"]), tokenizer=TOKENIZER, stride=2)


def test_comparison_reads_the_same_windows(classifier):
    methods = ("lrp", "gradient_x_input", "leave_one_out")
    found = compare(classifier, LONG, methods, TOKENIZER, stride=3)
    assert not found.failures
    for method, each in found.explanations.items():
        one = explain(classifier, LONG, method, TOKENIZER, stride=3)
        assert torch.equal(each.scores, one.scores)
    assert (
        found.costs["lrp"].calls
        == found.explanations["lrp"].meta["windows"][0]["count"]
    )
    assert "delight" in found.to_html()


@pytest.mark.parametrize("ending", ["safetensors", "json"])
def test_the_joined_result_is_shown_saved_and_merged(classifier, tmp_path, ending):
    found = explain(classifier, [LONG, SHORT], tokenizer=TOKENIZER, stride=3)
    assert ["".join(row) for row in found.meta["pieces"]] == [LONG, SHORT]
    words = found.words()
    assert words.tokens[1][1:-1] == SHORT.split()
    assert torch.allclose(words.scores.sum(1), found.scores.sum(1))
    frame = found.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["token"]) == [token for row in found.tokens for token in row]
    path = tmp_path / f"found.{ending}"
    found.save(path)
    again = type(found).load(path)
    assert torch.equal(again.scores, found.scores)
    assert again.meta == found.meta
    assert "delight" in found.to_html() and "delight" in found.to_terminal()


def test_layers_and_heads_are_joined(classifier):
    layers = ("bert.encoder.layer.0", "heads")
    found = explain(
        classifier, LONG, "lrp", TOKENIZER, 1, stride=3, layers=layers, rules="cp-lrp"
    )
    length = len(found.tokens[0])
    sizes = {name: list(part.shape) for name, part in found.layers.items()}
    assert sizes.pop("bert.encoder.layer.0") == [1, length, 16]
    assert sizes and all(size[2] == length for size in sizes.values())
