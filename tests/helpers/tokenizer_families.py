"""A tokenizer of every family, trained here on a few sentences."""

from __future__ import annotations

import re
from functools import cache

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    ByT5Tokenizer,
    CanineTokenizer,
    PreTrainedTokenizer,
    PreTrainedTokenizerFast,
)

CORPUS = [
    "Once upon a time.\n\nLily was sad, unbelievably sad!\nTom said: go\tnow.",
    "a gripping, funny film with a weak ending; un film très émouvant, à voir",
    "Über Straßen und Plätze\r\nging er (langsam) nach Hause...",
] * 4
CJK = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
# As the tokenizers of GPT-4 and Llama 3 split: punctuation takes line breaks along.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = sorted({letter for text in CORPUS for letter in text} | set("Ġ▁Ċ#@"))


def words_of(text):
    """What a reader takes for words: white space parts them, and so does Chinese."""
    return [
        word
        for run in text.split()
        for word in re.findall(f"{CJK}|(?:(?!{CJK}).)+", run)
    ]


def _fast(core, **special):
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


def word_piece(lower=True):
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=lower)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    core.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=110, special_tokens=special, show_progress=False
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return _fast(
        core, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )


def byte_level(split=None, trim=True, prefix=False, size=300):
    core = Tokenizer(models.BPE())
    byte_split = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not split)
    core.pre_tokenizer = byte_split
    if split:
        core.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"),
            byte_split,
        ])
    core.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        ),
    )
    core.post_processor = processors.ByteLevel(trim_offsets=trim)
    core.decoder = decoders.ByteLevel()
    return _fast(core, eos_token="<|endoftext|>")


def sentence_piece(llama=True):
    """Unigram with byte fallback: Llama's way to write spaces, or that of T5."""
    marked = [text.replace(" ", "▁") for text in CORPUS]
    found = dict.fromkeys(
        piece for text in marked for piece in re.findall(r"▁?\w{1,3}|[^\w\s]|▁", text)
    )
    table = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -4.0)]
    table += [(piece, -2.0 - 0.01 * i) for i, piece in enumerate(found) if piece != "▁"]
    table += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    core = Tokenizer(models.Unigram(table, unk_id=0, byte_fallback=True))
    if llama:
        core.normalizer = normalizers.Sequence([
            normalizers.Prepend("▁"),
            normalizers.Replace(" ", "▁"),
        ])
    else:
        core.normalizer = normalizers.NFKC()
        core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return _fast(core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def end_of_word():
    core = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=130,
            end_of_word_suffix="</w>",
            special_tokens=["<unk>"],
            show_progress=False,
        ),
    )
    return _fast(core, unk_token="<unk>")


def characters():
    table = {letter: i for i, letter in enumerate(["<unk>", *LETTERS])}
    core = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return _fast(core, unk_token="<unk>")


def whole_words():
    words = dict.fromkeys(word for text in CORPUS for word in text.split())
    table = {word: i for i, word in enumerate(["<unk>", *words])}
    core = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(CJK), "isolated"),
    ])
    return _fast(core, unk_token="<unk>")


class Slow(PreTrainedTokenizer):
    """A tokenizer in plain Python, without offsets: two letters a token."""

    def __init__(self, mark="##", lower=False, **settings):
        self.mark, self.lower = mark, lower
        self.table = ["[UNK]", "[CLS]"]
        self.known = {}
        super().__init__(unk_token="[UNK]", cls_token="[CLS]", **settings)
        for word in ("sadly", "Sadly"):
            list(map(self._convert_token_to_id, self._tokenize(word)))

    @property
    def vocab_size(self):
        return len(self.table)

    def get_vocab(self):
        return {token: i for i, token in enumerate(self.table)}

    def _tokenize(self, text, **_):
        parts = []
        for word in words_of(text.lower() if self.lower else text):
            for piece in re.findall(r"\w+|[^\w\s]", word):
                cut = re.findall("(?s)..?", piece)
                if self.mark == "##":
                    parts += [cut[0], *(f"##{part}" for part in cut[1:])]
                else:
                    parts += [*(f"{part}@@" for part in cut[:-1]), cut[-1]]
        return parts

    def _convert_token_to_id(self, token):
        if token not in self.table:
            self.table.append(token)
        return self.table.index(token)

    def _convert_id_to_token(self, index):
        return self.table[index]


FAMILIES = {
    "WordPiece": word_piece,
    "WordPiece, cased": lambda: word_piece(lower=False),
    "GPT-2's split": byte_level,
    "GPT-2's split, whole offsets": lambda: byte_level(trim=False),
    "RoBERTa's, with a space before": lambda: byte_level(prefix=True),
    "Llama 3's split": lambda: byte_level(CL100K, trim=False),
    "Llama 3's split, trimmed": lambda: byte_level(CL100K),
    "bytes without merges": lambda: byte_level(size=257),
    "SentencePiece of Llama": sentence_piece,
    "SentencePiece of T5": lambda: sentence_piece(llama=False),
    "</w>": end_of_word,
    "characters": characters,
    "whole words": whole_words,
    "CANINE": CanineTokenizer,
    "ByT5": ByT5Tokenizer,
    "slow WordPiece": Slow,
    "slow WordPiece, lower case": lambda: Slow(lower=True),
    "slow @@": lambda: Slow("@@"),
}
"""How each tokenizer is made, by name."""


@cache
def family(name):
    """The tokenizer of a family, made once."""
    return FAMILIES[name]()
