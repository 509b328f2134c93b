"""``python -m spuproj``: the command line; without a command, what is installed, which backend runs and why."""

import sys
from importlib import import_module

from spuproj import info

if sys.argv[1:]:
    import_module("spuproj.training.cli.entry").main()
else:
    print(info.text())
