"""``python -m lrp_hooks``: the command line."""

import sys

from .cli import main

sys.exit(main())
