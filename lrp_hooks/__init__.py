"""Explain what a Transformer did, with numbers that add up.

`instrument` hooks any ``torch.nn.Module`` so that one ordinary backward pass propagates
relevance conservatively (layer-wise relevance propagation as a modified gradient).

The public names stand in ``__init__.pyi``; each is imported when it is first used, so
that the command line answers before torch is there.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
