"""``python -m spuproj``: the same as the command ``spuproj``."""

from spuproj_cli.entry import main

main()
