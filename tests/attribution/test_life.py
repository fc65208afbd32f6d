"""The life of an instrumentation: nothing is kept alive, and others go on."""

import copy
import gc
import weakref

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import instrument
from small_models import encoder, hugging_face, logits, make
from strategies import build, noise, tokens


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("name", ["grammar", "encoder", "bert sdpa"])
def test_nothing_is_kept_alive(name, removed):
    model, inputs = make(name)
    lrp = instrument(model)
    found = lrp.attribute(inputs, target=lambda out: logits(out).flatten(1)[:, 0])
    if removed:
        lrp.remove()
    dead = [weakref.ref(model), weakref.ref(lrp), weakref.ref(next(model.parameters()))]
    del model, lrp
    gc.collect()
    assert [ref() is None for ref in dead] == [True] * 3
    assert not found.scores.requires_grad


def test_a_removed_instrumentation_lets_go_of_its_model():
    model = build()
    with instrument(model) as lrp:
        lrp.attribute(tokens(1, 3))
    dead = weakref.ref(model)
    del model
    gc.collect()
    assert dead() is None
    assert "removed" in repr(lrp)


def test_removal_frees_the_instrumentation_while_the_model_lives():
    model = build()
    with instrument(model) as lrp:
        lrp.attribute(tokens(1, 3))
    dead = weakref.ref(lrp)
    del lrp
    gc.collect()
    assert dead() is None
    assert model is not None


def test_hooks_of_others_survive_and_see_the_same():
    model, seen = build(), []
    block = model.blocks[0]
    first = block.register_forward_hook(lambda *a: seen.append("before"))
    with instrument(model):
        second = block.register_forward_hook(lambda *a: seen.append("during"))
        model(tokens(1, 2))
    model(tokens(1, 2))
    assert seen == ["before", "during"] * 2
    first.remove()
    second.remove()


def test_a_forward_of_the_instance_is_put_back():
    model = encoder()
    layer = model.layers[0]
    own = copy.copy(layer.forward)
    layer.forward = own
    x = noise(1, 2, 8, dtype=torch.float32)
    plain = model(x)
    with instrument(model):
        assert torch.equal(model(x), plain)
    assert vars(layer)["forward"] is own


def test_state_dict_and_repr_do_not_change():
    model = hugging_face("bert")
    keys, text = list(model.state_dict()), repr(model)
    with instrument(model):
        assert list(model.state_dict()) == keys
        assert repr(model) == text
        model.load_state_dict(model.state_dict())


def test_a_weight_that_training_moved_is_followed():
    model, ids = build(), tokens(2, 3)
    with instrument(model) as lrp:
        lrp.attribute(ids)
        with torch.no_grad():
            model.head.weight *= 2
            model.head.bias.zero_()
        found = lrp.attribute(ids, target=0)
    assert_close(found.output, model(ids)[:, 0].detach())
    assert (found.ledger.error < 1e-10).all()
