"""``python -m spuproj``: what is installed, which backend runs and why."""

from spuproj import info

print(info.text())
