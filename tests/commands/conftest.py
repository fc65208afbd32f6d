"""A table of texts that commands read."""

import random

import pandas
import pytest

from command_line import ROWS

WORDS = "a gripping funny dull film with weak strong plot and no end at all".split()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Forty short sentences with labels."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(ROWS)]
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    pandas.DataFrame({"text": texts, "label": [0, 1] * (ROWS // 2)}).to_csv(path)
    return path
