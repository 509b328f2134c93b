"""The ``spuproj`` command. It is a package of its own since ``import spuproj`` imports torch, which takes seconds."""
