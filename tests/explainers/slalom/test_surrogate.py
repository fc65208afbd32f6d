"""The surrogate itself: its forward, its laws, its removal, its file."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks import ArgumentError
from lrp_hooks.explainers.slalom import Surrogate
from slalom_models import brute_force

numbers = st.floats(-5, 5).map(lambda x: round(x, 3))


@st.composite
def surrogates(draw, most=6):
    ids = draw(st.lists(st.integers(0, 50), min_size=1, max_size=most, unique=True))
    columns = [draw(st.lists(numbers, min_size=len(ids), max_size=len(ids)))]
    columns += [draw(st.lists(numbers, min_size=len(ids), max_size=len(ids)))]
    values, importances = torch.tensor(columns, dtype=torch.float64)
    return Surrogate(torch.tensor(sorted(ids)), values, importances)


def tables(surrogate):
    ids = surrogate.ids.tolist()
    return (
        dict(zip(ids, surrogate.values.tolist(), strict=True)),
        dict(zip(ids, surrogate.importances.tolist(), strict=True)),
    )


def text_of(surrogate, data, least=1):
    known = st.sampled_from(surrogate.ids.tolist())
    return data.draw(st.lists(known, min_size=least, max_size=8))


@given(surrogates(), st.data())
def test_it_is_the_softmax_of_every_copy(surrogate, data):
    text = text_of(surrogate, data)
    wanted = brute_force(text, *tables(surrogate))
    assert_close(surrogate(torch.tensor([text])).item(), wanted, rtol=1e-9, atol=1e-9)


@given(surrogates(), st.data())
def test_order_does_not_matter(surrogate, data):
    text = text_of(surrogate, data)
    turned = data.draw(st.permutations(text))
    found = surrogate(torch.tensor([text, turned]))
    assert_close(found[0], found[1])


@given(surrogates(), st.floats(-300, 300), st.data())
def test_a_constant_added_to_importances_cancels(surrogate, constant, data):
    ids = torch.tensor([text_of(surrogate, data)])
    moved = Surrogate(surrogate.ids, surrogate.values, surrogate.importances + constant)
    assert_close(moved(ids), surrogate(ids), rtol=1e-9, atol=1e-9)


@given(surrogates(), st.integers(1, 30), st.data())
def test_copies_of_one_token_have_its_value(surrogate, copies, data):
    place = data.draw(st.integers(0, len(surrogate.ids) - 1))
    ids = surrogate.ids[place].expand(1, copies)
    assert_close(surrogate(ids)[0], surrogate.values[place])


@given(surrogates(), st.data())
def test_removal_is_the_difference_of_two_texts(surrogate, data):
    text = text_of(surrogate, data, least=2)
    found = surrogate.removal(torch.tensor(text))
    whole = brute_force(text, *tables(surrogate))
    for i, effect in enumerate(found.tolist()):
        left = brute_force(text[:i] + text[i + 1 :], *tables(surrogate))
        assert_close(effect, whole - left, rtol=1e-6, atol=1e-7)


@given(surrogates())
def test_nothing_is_left_of_a_single_token(surrogate):
    assert surrogate.removal(surrogate.ids[:1]).tolist() == [0.0]


def test_unknown_ids_weigh_nothing():
    known = Surrogate(
        torch.tensor([3, 5]), torch.tensor([1.0, -2.0]), torch.tensor([0.2, 0.0])
    )
    with_padding = known(torch.tensor([[0, 3, 5, 3, 99, 4]]))
    assert_close(with_padding, known(torch.tensor([[3, 5, 3]])))
    assert known.removal(torch.tensor([0, 3, 5]))[0] == 0
    with pytest.raises(ArgumentError, match=r"ids\[1\] has no token.*\[0, 99\]"):
        known(torch.tensor([[3, 0], [0, 99]]))


@pytest.mark.parametrize("ids", [torch.tensor([3, 5]), torch.tensor([[3.0]]), [[3, 5]]])
def test_ids_of_another_shape_are_refused(ids):
    known = Surrogate(torch.tensor([3]), torch.ones(1), torch.zeros(1))
    with pytest.raises(ArgumentError, match=r"\[N, L\]"):
        known(ids)


def test_parts_must_belong_together():
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(ArgumentError, match="one shape"):
        Surrogate(torch.tensor([1, 2]), two, one)
    with pytest.raises(ArgumentError, match="ascend"):
        Surrogate(torch.tensor([2, 1]), two, two)


@given(surrogate=surrogates())
def test_a_file_gives_it_back(tmp_path_factory, surrogate):
    path = tmp_path_factory.mktemp("surrogate") / "s.safetensors"
    surrogate.save(path)
    again = Surrogate.load(path)
    for name in ("ids", "values", "importances"):
        assert torch.equal(getattr(again, name), getattr(surrogate, name))


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ArgumentError, match="cannot be read"):
        Surrogate.load(path)
