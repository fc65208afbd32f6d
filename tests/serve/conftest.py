"""One explorer of the embedded model for all tests that leave it as it is."""

import pytest

from explorer_server import serving
from lrp_hooks.sentiment import sentiment_model


@pytest.fixture(scope="session")
def sentiment():
    return sentiment_model()


@pytest.fixture(scope="session")
def client(sentiment):
    with serving(*sentiment) as client:
        yield client
