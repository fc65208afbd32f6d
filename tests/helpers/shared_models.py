"""Models that many tests read: built once in a process, and proven unchanged."""

import hashlib
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import nn

from lrp_hooks.sentiment import sentiment_model

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")

_built = {}  # what was built, and its fingerprint, by how it was asked for
_lent = set()


def shared(build):
    """Build each model once; whoever gets it may only read it."""

    @wraps(build)
    def lend(*arguments, **options):
        key = (build.__name__, arguments, tuple(sorted(options.items())))
        if key not in _built:
            found = build(*arguments, **options)
            _built[key] = found, fingerprint(found)
        _lent.add(key)
        return _built[key][0]

    return lend


def changed(of_all=False):
    """Name the models that are not what they were: those lent since last, or all."""
    keys = set(_built) if of_all else set(_lent)
    _lent.clear()
    return {key for key in keys if fingerprint(_built[key][0]) != _built[key][1]}


def fingerprint(model):
    """Return a digest of all numbers, and of what else a test might leave behind."""
    model = model if isinstance(model, nn.Module) else model.model
    digest = hashlib.sha256(str(getattr(model, "config", None)).encode())
    for tensor in model.state_dict(keep_vars=True).values():
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
        digest.update(f"{tensor.requires_grad} {tensor.grad is None}".encode())
    for module in model.modules():
        hooks = [hook for name in HOOKS for hook in getattr(module, name).values()]
        # transformers leaves its own on a model that was asked for its attentions.
        ours = [
            hook for hook in hooks if not hook.__module__.startswith("transformers.")
        ]
        digest.update(f"{type(module)} {module.training} {ours}".encode())
    return digest.digest()


class Sentiment(NamedTuple):
    """A classifier and its tokenizer."""

    model: nn.Module
    tokenizer: Any


@shared
def sentiment():
    """Return the embedded model."""
    return Sentiment(*sentiment_model())
