"""The ``spuproj`` command. A separate package, because ``import spuproj`` imports torch, which takes seconds."""
