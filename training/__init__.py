"""The study layer: data, networks, training, prediction and pictures, on top of ``spuproj``."""
