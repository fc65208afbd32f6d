"""A sound is shown as moments: sums of its columns, long pauses as one."""

import re

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks import explain_generation
from lrp_hooks.generation.moments import MOST, PAUSE, Moments
from sequence_models import sequence_model, sequence_tokenizer, spectrogram
from strategies import seeds


@given(
    first=st.integers(0, 3),
    count=st.integers(1, 4 * MOST),
    after=st.integers(0, 4),
    loud=st.lists(st.integers(0, 4 * MOST), max_size=6),
    seed=seeds,
)
def test_every_column_is_in_one_moment(first, count, after, loud, seed):
    torch.manual_seed(seed)
    scores = torch.randn(2, first + count + after, dtype=torch.float64)
    sound = scores[:, first : first + count]
    kept = [place for place in loud if place < count]
    quiet = torch.full((count,), 1e-6, dtype=torch.float64)
    quiet[kept] = 1.0
    sound *= quiet
    moments = Moments.of(scores, first, count)
    shown = moments.sum(scores)
    assert shown.shape[1] == first + moments.count + after
    assert_close(shown.sum(1), scores.sum(1))
    assert_close(shown[:, :first], scores[:, :first])
    assert_close(shown[:, first + moments.count :], scores[:, first + count :])
    assert (moments.index.diff() >= 0).all() and (moments.index.diff() <= 1).all()
    names = moments.names([f"{n}" for n in range(scores.shape[1])])
    for name, column in zip(names, range(shown.shape[1]), strict=True):
        start, *end = map(int, name.split(" to "))
        members = (moments.index == column).nonzero()[:, 0].tolist()
        assert members[0] == start and (not end or members[-1] == end[0])


def test_a_pause_is_one_moment():
    scores = torch.zeros(1, 2 * MOST)
    scores[0, [0, 1, 101]] = 1.0
    moments = Moments.of(scores, 0, 2 * MOST)
    # Two columns a moment: one that is loud, a pause, one that is loud, a pause.
    assert moments.count == 4 and PAUSE <= 49
    assert moments.sum(scores).tolist() == [[2.0, 0.0, 1.0, 0.0]]
    names = moments.names([f"{n} s" for n in range(2 * MOST)])
    assert names == ["0 s", "2 s to 99 s", "100 s", "102 s to 599 s"]


def test_a_page_shows_a_sound_as_small_cells():
    model = sequence_model("Whisper", max_source_positions=1500)
    sound = spectrogram(frames=3000)
    found = explain_generation(model, sequence_tokenizer(), sound, continuation=[4, 5])
    assert found.scores.shape[1] == 3003  # numbers stay those of the frames
    page, shown = found.to_html(), found.view()
    count = shown.grid[2]
    assert count <= MOST and len(shown.tokens) == count + 3
    assert page.count("</span>") < 600 and len(page) < 100_000
    assert len(re.findall(r'<span class="k\d+" title="frame [^"]+"></span>', page)) == (
        count
    )
    assert_close(shown.scores.sum(1), found.scores.sum(1))
    assert found.to_terminal() and found.plot()


def test_pauses_have_both_their_ends_wherever_they_are():
    size = 2
    scores = torch.zeros(1, size * MOST)
    scores[0, -1] = 1.0
    names = [f"{n} s" for n in range(size * MOST)]
    assert Moments.of(scores, 0, size * MOST).names(names) == [
        "0 s to 597 s",
        "598 s",
    ]
    silent = Moments.of(torch.zeros(1, size * MOST), 0, size * MOST)
    assert silent.names(names) == ["0 s to 599 s"]


def test_what_counts_together_is_no_pause():
    scores = torch.full((1, MOST), 0.0099)
    scores[0, 0] = 1.0
    assert Moments.of(scores, 0, MOST).count == MOST
    cancels = scores * torch.tensor([1.0, -1.0]).repeat(MOST // 2)
    assert Moments.of(cancels, 0, MOST).count == 2


def test_what_counts_against_is_no_silence():
    scores = torch.zeros(2, 2 * MOST)
    scores[0, 0], scores[1, 100] = 1.0, -1.0
    moments = Moments.of(scores, 0, 2 * MOST)
    assert moments.sum(scores)[1].tolist() == [0.0, 0.0, -1.0, 0.0]


def test_a_token_sees_all_moments_and_what_was_written_before():
    model = sequence_model("Whisper", max_source_positions=1500)
    sound = spectrogram(frames=3000)
    found = explain_generation(model, sequence_tokenizer(), sound, continuation=[4, 5])
    shown = found.view()
    assert shown.seen == [shown.grid[2] + 1, shown.grid[2] + 2]
    assert (shown.encoder, shown.prompt) == (shown.grid[2], shown.grid[2] + 1)
