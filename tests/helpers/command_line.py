"""What tests of the command line share: arguments, and how one is refused."""

import re

import lrp_hooks.sentiment

ROWS = 40  # of the table that `evaluate` reads
SENTENCE = "a gripping, funny film with a weak ending"
EMBEDDED = lrp_hooks.sentiment.__path__[0]


def assert_refused(outcome, message):
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    assert len(err) <= 501
    assert re.search(message, err)
