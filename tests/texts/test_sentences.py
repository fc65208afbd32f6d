"""Where sentences, paragraphs and words of a text begin and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_hooks.texts.sentences import paragraphs, sentences, words


def texts_of(passages):
    return [passage.text for passage in passages]


CASES = {
    "initials of a name": (
        "The U.S. Geological Survey of Washington, D.C. measured it in the U.K. too.",
        ["The U.S. Geological Survey of Washington, D.C. measured it in the U.K. too."],
    ),
    "initials at an end": (
        "He moved to the U.S. The next year he left.",
        ["He moved to the U.S.", "The next year he left."],
    ),
    "abbreviations": (
        "Dr. Smith met Mrs. Hall, e.g. on Mon. at noon. It was cold.",
        ["Dr. Smith met Mrs. Hall, e.g. on Mon. at noon.", "It was cold."],
    ),
    "numbers": (
        "Pi is 3.14. Version v2.0 costs 1.5 m. See Fig. 3. Done",
        ["Pi is 3.14.", "Version v2.0 costs 1.5 m.", "See Fig. 3.", "Done"],
    ),
    "initials": (
        "J. R. R. Tolkien wrote it. It is long.",
        ["J. R. R. Tolkien wrote it.", "It is long."],
    ),
    "quotes": (
        'He said "Stop!" and left. "Why?" he asked. (Nobody knew.) So?',
        ['He said "Stop!" and left.', '"Why?" he asked.', "(Nobody knew.)", "So?"],
    ),
    "ellipsis": (
        "Well... maybe. And so on... Then",
        ["Well... maybe.", "And so on...", "Then"],
    ),
    "lists": (
        "1. Oslo is big. It rains.\n2. Bergen\n- one\n- two\n* three",
        ["1. Oslo is big.", "It rains.", "2. Bergen", "- one", "- two", "* three"],
    ),
    "facts": (
        "Ann lives in Oslo.\nBob lives in Rome\nQuestion: Where is Bob?\nAnswer:",
        [
            "Ann lives in Oslo.",
            "Bob lives in Rome",
            "Question: Where is Bob?",
            "Answer:",
        ],
    ),
    "wrapped": (
        "The old ferry to the island leaves at eight o'clock from the pier in\n"
        "Bergen and returns\nat noon. It is\nslow.",
        [
            "The old ferry to the island leaves at eight o'clock from the pier in\n"
            "Bergen and returns\nat noon.",
            "It is\nslow.",
        ],
    ),
    "headings": (
        "# Title\nText one. Two\n\nNext",
        ["# Title", "Text one.", "Two", "Next"],
    ),
    "code": (
        "Run this:\n```python\nimport os\nprint(os.name)\n```\nIt prints.",
        ["Run this:", "```python", "import os", "print(os.name)", "```", "It prints."],
    ),
    "chinese": (
        "他住在北京。她住在上海！对吗？",
        ["他住在北京。", "她住在上海！", "对吗？"],
    ),
    "japanese": ("「東京です。」と彼は言った。", ["「東京です。」", "と彼は言った。"]),
    "hindi": ("वह दिल्ली में है। वह खुश है।", ["वह दिल्ली में है।", "वह खुश है।"]),
    "line ends of Windows": ("One.\r\nTwo\r\n\r\nThree", ["One.", "Two", "Three"]),
    "blank": (" \n\n ", []),
}


@pytest.mark.parametrize("name", CASES)
def test_sentences(name):
    text, expected = CASES[name]
    assert texts_of(sentences(text)) == expected


def test_paragraphs_end_at_blank_lines():
    text = "One.\nTwo.\n \nThree\n\n\n  Four "
    assert texts_of(paragraphs(text)) == ["One.\nTwo.", "Three", "Four"]


def test_words_are_parted_by_white_space_and_chinese_by_the_character():
    assert texts_of(words("a b-c\n東京 d")) == ["a", "b-c", "東", "京", "d"]


@given(text=st.text(alphabet="aB. \n!?1,-`「。」\r\t", max_size=60))
def test_passages_are_the_text_without_white_space(text):
    for cut in (sentences, paragraphs, words):
        found = cut(text)
        assert all(text[start:end] == part for part, start, end in found)
        assert all(part == part.strip() != "" for part in texts_of(found))
        ends = [0, *(passage.end for passage in found)]
        assert all(a <= p.start for a, p in zip(ends, found, strict=False))
        assert "".join("".join(texts_of(found)).split()) == "".join(text.split())
