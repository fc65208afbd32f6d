"""Bad input: one clear error that names what came, and an untouched model."""

import gc
import pickle

import pytest
import torch
from lrp_hooks.rules import Activation, Attention
from torch import nn

import lrp_hooks
from lrp_hooks import (
    AlreadyInstrumentedError,
    ArgumentError,
    CompiledModelError,
    InferenceModeError,
    LrpHooksError,
    NonFiniteError,
    TargetError,
    TextError,
    UnruledWarning,
    instrument,
)
from small_models import hugging_face, state, vector
from strategies import Spec, build, noise, tokens


def refused(kind, message, call, model):
    """Verify the error, and that the model is as it was."""
    before = state(model)
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, LrpHooksError)
    assert state(model) == before
    with instrument(model):  # nothing holds it
        pass


def test_every_error_class_is_public_and_has_a_base():
    names = [n for n in lrp_hooks.errors.__all__ if n.endswith("Error")]
    for name in names:
        kind = getattr(lrp_hooks, name)
        assert issubclass(kind, LrpHooksError)
        assert kind.__doc__
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(AlreadyInstrumentedError, ValueError)
    assert issubclass(CompiledModelError, ValueError)
    assert issubclass(UnruledWarning, UserWarning)


INSTRUMENT = {
    "an unknown name": ({"rules": "lpr"}, "rules='lpr'.*'conservative'.*'attnlrp'"),
    "a name in capitals": ({"rules": "CP-LRP"}, "Did you mean 'cp-lrp'"),
    "rules of another type": ({"rules": 3}, "rules is a int.*RuleSet or a name"),
    "a rule as rules": ({"rules": Attention()}, "rules is a Attention"),
    "a name nobody has": (
        {"overrides": {"blocks.9.*": Attention()}},
        r"overrides.*'blocks\.9\.\*'.*matches no module.*model\.named_modules\(\)",
    ),
    "a module of another": (
        {"overrides": {nn.Linear(1, 1): Attention()}},
        "overrides.*Linear.*matches no module",
    ),
    "a key of no kind": ({"overrides": {3: Attention()}}, "overrides has the key 3"),
    "a type of no module": ({"overrides": {dict: Attention()}}, "overrides.*dict"),
    "an override that is no rule": (
        {"overrides": {"head": "zero"}},
        "'zero' is no rule",
    ),
}


@pytest.mark.parametrize("case", INSTRUMENT)
def test_instrument_refuses(case):
    options, message = INSTRUMENT[case]
    model = build()
    refused(ArgumentError, message, lambda: instrument(model, **options), model)


@pytest.mark.parametrize("model", [None, "bert", torch.nn.Linear, lambda x: x])
def test_only_modules_can_be_instrumented(model):
    with pytest.raises(ArgumentError, match="model is a .*torch.nn.Module"):
        instrument(model)


IDS = tokens(2, 3)
ATTRIBUTE = {
    "text": (
        ("some text",),
        r"inputs is a str.*[Tt]okenise.*lrp_hooks\.explain\(model",
    ),
    "texts": ((["some", "text"],), r"holds no tensor.*lrp_hooks\.explain\(model, text"),
    "no text": (("",), "inputs is a str"),
    "nothing": ((None,), "inputs is a NoneType"),
    "a number": ((3,), "inputs is a int"),
    "no tensor in a tuple": (((1, 2),), "inputs holds no tensor"),
    "lists of ids": (({"input_ids": [[1, 2]]},), 'input_ids.*return_tensors="pt"'),
    "an empty mapping": (({},), "inputs holds no tensor"),
    "a scalar": ((torch.tensor(3),), r"inputs has shape \(\)"),
    "no example": ((IDS[:0],), r"inputs has shape \(0, 3\)"),
    "no token": ((IDS[:, :0],), r"inputs has shape \(2, 0\)"),
    "ids beyond the vocabulary": ((IDS + 9,), "token ids .*vocabulary has 11"),
    "negative ids": ((IDS - 99,), "token ids -.*vocabulary has 11"),
    "a class out of range": ((IDS, 3), "target=3.*3 outputs, 0 to 2"),
    "too many targets": ((IDS, [0, 1, 2]), "target has 3 entries for 2 examples"),
    "an unknown label": ((IDS, "POSITIVE"), "target='POSITIVE'"),
}


@pytest.mark.parametrize("case", ATTRIBUTE)
@pytest.mark.parametrize("training", [False, True])
def test_attribute_refuses(case, training):
    args, message = ATTRIBUTE[case]
    model = build().train(training)
    before = state(model)
    with instrument(model) as lrp:
        with pytest.raises(ArgumentError, match=message):
            lrp.attribute(*args)
        assert model.training is training
        assert torch.is_grad_enabled()
        error = lrp.attribute(IDS, 1).ledger.error
    assert (error < 1e-10).all()
    assert state(model) == before


NAMES = {
    "blocks.77": "",
    "block.0": ".*Did you mean 'blocks.0",
    "BLOCKS.0": ".*Did you mean 'blocks.0' or",
    "head.weight": "",
    3: "",
}


@pytest.mark.parametrize("argument", ["wrt", "layers"])
@pytest.mark.parametrize("name", NAMES, ids=str)
def test_names_of_no_module(argument, name):
    with instrument(build()) as lrp:
        value = [name] if argument == "layers" or not isinstance(name, str) else name
        with pytest.raises(ArgumentError, match=f"{argument}={name!r}{NAMES[name]}"):
            lrp.attribute(IDS, **{argument: value})


def test_a_module_that_does_not_run():
    model = build()
    model.spare = nn.Linear(1, 1)
    with instrument(model) as lrp:
        with pytest.raises(ArgumentError, match="wrt='spare'.*did not run"):
            lrp.attribute(IDS, wrt="spare")
        with pytest.raises(ArgumentError, match="layers='spare'.*did not run"):
            lrp.attribute(IDS, layers=["spare"])


def test_integer_inputs_without_an_embedding():
    class Counts(nn.Module):
        def forward(self, ids):
            return ids.double().sum(1, keepdim=True)

    with instrument(Counts()) as lrp, pytest.raises(ArgumentError, match="wrt="):
        lrp.attribute(IDS)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_ids_without_a_batch_dimension(family):
    model = hugging_face(family)
    with instrument(model) as lrp:
        with pytest.raises(ArgumentError, match=r"\(3,\).*inputs\[None\]") as caught:
            lrp.attribute({"input_ids": IDS[0]})
    assert not isinstance(caught.value.__cause__, LrpHooksError)
    plain = hugging_face(family)
    with pytest.raises(type(caught.value.__cause__)):
        plain(input_ids=IDS[0])


def test_numbers_without_a_batch_dimension():
    with instrument(vector(nn.ReLU())) as lrp:
        with pytest.raises(TargetError, match=r"for 4 examples.*inputs\[None\]"):
            lrp.attribute(noise(4))
        with pytest.raises(ArgumentError, match=r"IndexError.*inputs\[None\]"):
            lrp.attribute(noise(4), target=lambda out: out[:, 1])


def test_inputs_of_one_dimension_may_be_right():
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.map = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, ids):
            return self.map(self.table(ids))

    with instrument(Line(), strict=True) as lrp:
        assert lrp.attribute(torch.tensor([1, 4]), target=0).output.shape == (2,)


def test_other_errors_stay_as_they_are():
    def fail(out):
        raise KeyError("mine")

    with instrument(build()) as lrp, pytest.raises(KeyError, match="mine"):
        lrp.attribute(IDS, target=fail)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_more_tokens_than_positions(family):
    model = hugging_face(family)
    with instrument(model) as lrp, pytest.raises(TextError, match="17 tokens.*16 pos"):
        lrp.attribute({"input_ids": tokens(1, 17)})


def test_rotary_positions_have_no_table():
    with instrument(hugging_face("llama", torch.float64)) as lrp:
        assert (lrp.attribute({"input_ids": tokens(1, 17)}).ledger.error < 1e-5).all()


def test_hugging_face_ids_beyond_the_vocabulary():
    with instrument(hugging_face("bert")) as lrp:
        with pytest.raises(ArgumentError, match="token ids 11 to 11.*has 11"):
            lrp.attribute({"input_ids": torch.tensor([[11]])})


@pytest.mark.parametrize("wrapped", ["whole", "part", "call"])
def test_compiled_models(wrapped):
    inner = vector(nn.ReLU())
    model = inner
    if wrapped == "whole":
        model = torch.compile(inner)
    elif wrapped == "part":
        model = nn.Sequential(torch.compile(inner), nn.Linear(2, 2))
    else:
        inner.compile()
    with pytest.raises(CompiledModelError, match="compile.*instrument the original"):
        instrument(model)
    assert not any(m._forward_hooks for m in inner.modules())


def test_inference_mode():
    model = build()
    with instrument(model) as lrp:
        with torch.inference_mode():
            with pytest.raises(InferenceModeError, match=r"no_grad\(\)"):
                lrp.attribute(IDS)
            with pytest.raises(InferenceModeError, match=r"no_grad\(\)"):
                model(IDS)
        assert (lrp.attribute(IDS).ledger.error < 1e-10).all()
        with torch.inference_mode():
            made = tokens(2, 3)
        assert (lrp.attribute(made).ledger.error < 1e-10).all()
    with torch.inference_mode():
        model(IDS)


def test_a_second_instrumentation():
    inner = build()
    outer = nn.Sequential(inner)
    with instrument(inner) as lrp:
        before = state(outer)
        for model in (inner, outer, inner.blocks[0], inner.blocks[0].inner):
            with pytest.raises(AlreadyInstrumentedError, match=r"remove\(\)"):
                instrument(model)
        assert state(outer) == before
        assert (lrp.attribute(IDS).ledger.error < 1e-10).all()
    with instrument(outer), pytest.raises(AlreadyInstrumentedError):
        instrument(inner)
    with instrument(inner.head):
        pass


@pytest.mark.parametrize("which", ["model", "wrapper", "part"])
def test_a_lost_instrumentation_can_be_removed(which):
    model = build()
    before = state(model)
    instrument(model)
    other = {"model": model, "wrapper": nn.Sequential(model), "part": model.head}[which]
    message = (
        r"except AlreadyInstrumentedError as error: error\.instrumentation\.remove"
    )
    with pytest.raises(AlreadyInstrumentedError, match=message) as caught:
        instrument(other)
    assert caught.value.instrumentation.model is model
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    caught.value.instrumentation.remove()
    assert state(model) == before
    with instrument(other):
        pass


def test_the_error_keeps_no_instrumentation_alive():
    lrp = instrument(build())
    error = AlreadyInstrumentedError("message", lrp)
    assert error.instrumentation is lrp
    lrp.remove()
    del lrp
    gc.collect()
    assert error.instrumentation is None
    assert AlreadyInstrumentedError("message").instrumentation is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["blocks.1.inner.in_proj_weight", "head.bias"])
def test_numbers_that_are_none_in_the_weights(name, value):
    model = build(Spec(("mlp", "torch_attention"), ("layer",) * 2))
    model.get_parameter(name).data.flatten()[0] = value
    with instrument(model) as lrp:
        with pytest.raises(NonFiniteError, match=name.rsplit(".", 1)[0]) as caught:
            lrp.attribute(IDS, 0)
    assert "blocks.0" not in str(caught.value)


class Spoiled(nn.Module):
    def forward(self, x):
        return x / (x - x) if self.training is None else torch.log(-x.abs() - 1)


def test_numbers_that_are_none_in_activations():
    model = nn.Sequential(vector(nn.ReLU()), nn.Sequential(Spoiled(), nn.Linear(2, 2)))
    with instrument(model.double()) as lrp:
        with pytest.raises(NonFiniteError, match=r"first in the output of 1\.0 "):
            lrp.attribute(noise(2, 4))


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_numbers_that_are_none_in_the_inputs(value):
    x = noise(2, 4)
    x[1, 2] = value
    model = vector(nn.ReLU())
    message = "stands in the inputs, in 'input'. Pass finite"
    with instrument(model) as lrp, pytest.raises(NonFiniteError, match=message):
        lrp.attribute(x)


def test_nan_in_one_example_alone_is_not_hidden():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 2, dtype=torch.float64)

        def forward(self, x):
            return self.map(torch.sqrt(x))

    x = noise(3, 4).abs()
    x[1, 0] = -1.0
    with instrument(Late()) as lrp, pytest.raises(NonFiniteError, match="first"):
        lrp.attribute(x)


def test_a_share_out_of_range():
    for share in (-0.1, 0.6):
        with pytest.raises(ArgumentError, match=f"query_key_share={share}.*0.5"):
            Attention(share)
    assert isinstance(Activation(), lrp_hooks.Rule)
