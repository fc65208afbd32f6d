"""What tests of whole data sets share: texts of many lengths, rows that come back."""

import random

import pandas

WORDS = "a gripping funny dull film with weak strong plot and no end at all".split()


def some_texts(count, longest=24, seed=0):
    """Texts of many lengths, the same each time."""
    draw = random.Random(seed)
    sizes = [draw.randint(1, longest) for _ in range(count)]
    return [" ".join(draw.choices(WORDS, k=size)) for size in sizes]


def rows_of(folder):
    """The rows in the order of the parts."""
    return pandas.read_parquet(folder)


def bytes_of(folder):
    """What every part holds."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
