"""Which mark a vocabulary has."""

import pytest

from lrp_hooks.words import subword_mark

VOCABULARIES = {
    "##": ["[CLS]", "a", "##b", "##c", "▁"],
    "▁": ["<s>", "▁a", "b", "<0x0A>", "##"],
    "Ġ": ["Ġa", "Ġb", "Ċ", "    ", "  ", "##"],
    "</w>": ["a", "b</w>", "a</w>", "Ġ"],
    "@@": ["a@@", "b@@", "b", "@@", "##"],
    " ": [" ", "\n", "Ġ", "Ċ", "▁", "č", "a", "#", "\u4e00"],
    "bytes": [chr(byte) for byte in range(256)] + ["<pad>", "<extra_id_0>"],
    None: ["a", "b", "C", "(", "##", "@@"],
}


@pytest.mark.parametrize("mark", VOCABULARIES)
def test_the_mark_of_a_vocabulary(mark):
    assert subword_mark(VOCABULARIES[mark]) == mark
    assert subword_mark(iter(VOCABULARIES[mark])) == mark
    assert subword_mark(dict.fromkeys(VOCABULARIES[mark], 0)) == mark
