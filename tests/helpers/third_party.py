"""A package that ships a rule, and programs that meet it in a process of their own."""

import subprocess
import sys
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


def run_with(folder, program):
    """Run a program that finds the packages of a folder."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n{textwrap.dedent(program)}"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
