"""A package that ships a rule, and programs that meet it."""

import textwrap

PLUGIN = textwrap.dedent("""
    import torch
    from lrp_hooks import LeafRule, register

    class Doubling(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.flip(-1)] * 2).sum(0)

    @register(Doubling)
    class DoublingRule(LeafRule):
        def relevance(self, module, x, y, grad):
            return 7 * grad
""")


def seeing(folder, program):
    """Return a program that finds the packages of a folder."""
    return (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n{textwrap.dedent(program)}"
    )
