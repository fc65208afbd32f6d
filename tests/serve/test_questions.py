"""Whatever is asked, the answer is an explanation or a sentence."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

KIND = {"Content_Type": "application/json"}


def error_of(client, body, path="/explain"):
    status, _, answer = client.send(path, body, **KIND)
    told = json.loads(answer)
    assert list(told) == ["error"]
    sentence = told["error"]
    assert "\n" not in sentence and "Traceback" not in sentence
    assert sentence.endswith((".", "?")), sentence
    return status, sentence


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"text=good",
        b"{'text': 'good'}",
        b'{"text": "good"} {}',
        b'\xff\xfe{"text": "good"}',
        b'\xef\xbb\xbf{"text": "good"}',
        b'{"text": "\xe9"}',
        b'{"text": ' + b"[" * 100_000,
        b'{"text": ' + b"1" * 10_000 + b"}",
        '{"text": "good"}'.encode("utf-16"),
    ],
)
def test_malformed_json_is_refused(client, body):
    status, sentence = error_of(client, body)
    assert status == 400
    assert sentence.startswith("the body is no JSON in UTF-8")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "the body is a list"),
        ("good", "the body is a str"),
        (None, "the body is a NoneType"),
        ({}, "there is no 'text'"),
        ({"text": None}, "'text' is null; it must be a string"),
        ({"text": ["good"]}, "'text' is a list; it must be a string"),
        ({"text": 3}, "'text' is a number; it must be a string"),
        ({"text": "good", "words": "yes"}, "'words' is a string; it must be true or"),
        ({"text": "good", "words": 1}, "'words' is a number; it must be true or"),
        ({"text": "good", "target": 1}, "'target' is a number; it must be a string or"),
        ({"text": "good", "rules": {}}, "'rules' is an object; it must be a string or"),
        ({"text": "good", "method": None}, "'method' is null; it must be a string"),
        ({"text": "good", "model": "/etc"}, "'model' is no key; it must be one of"),
        ({"text": "good", "strict": True}, "'strict' is no key; it must be one of"),
        ({"text": "good", "target": "x" * 201}, "'target' has 201 characters; at most"),
    ],
)
def test_wrong_types_and_keys_are_named(client, value, told):
    status, sentence = error_of(client, json.dumps(value))
    assert status == 400
    assert sentence.startswith(told)


@pytest.mark.parametrize("path", ["/explain", "/compare", "/layers"])
@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"text": ""}, "the text is blank"),
        ({"text": " \t\n\u3000"}, "the text is blank"),
        ({"text": "\ud800"}, "the text is no valid Unicode"),
        ({"text": "good", "method": "lpr"}, "Did you mean 'lrp'?"),
        ({"text": "good", "method": "os.system"}, "is no explainer"),
        ({"text": "good", "method": "__init__"}, "is no explainer"),
        ({"text": "good", "rules": "attnlpr"}, "Did you mean 'attnlrp'?"),
        ({"text": "good", "target": "positiv"}, "Did you mean 'positive'?"),
        ({"text": "good", "target": "2"}, "the model has 2 outputs"),
        ({"text": "good", "target": "9" * 200}, "the model has 2 outputs"),
        ({"text": "good", "target": "\u0663"}, "is no label of this model"),
    ],
)
def test_what_does_not_exist_is_refused_everywhere(client, path, question, told):
    status, sentence = error_of(client, json.dumps(question), path)
    assert status == 422
    assert told in sentence


def test_rules_belong_to_lrp_alone(client):
    body = json.dumps({"text": "good", "method": "decompx", "rules": "attnlrp"})
    status, sentence = error_of(client, body)
    assert status == 422
    assert sentence.startswith("rules='attnlrp' is no option of DecompX")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
keys = st.sampled_from(["text", "method", "rules", "target", "words", "extra"])


@settings(max_examples=40)
@given(st.dictionaries(keys, values), st.sampled_from(["/explain", "/layers"]))
def test_no_question_breaks_the_server(client, question, path):
    status, _, answer = client.send(path, json.dumps(question), **KIND)
    assert status in {200, 400, 422}, answer
    assert ("error" in json.loads(answer)) == (status != 200)


@settings(max_examples=40)
@given(st.binary(max_size=40))
def test_no_bytes_break_the_server(client, body):
    status, _, answer = client.send("/explain", body, **KIND)
    assert status == 400
    assert "error" in json.loads(answer)
