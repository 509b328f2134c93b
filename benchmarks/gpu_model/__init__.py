"""What the GPU kernels read, worked out from real taps without a GPU: ``python -m spuproj.benchmarks.gpu_model``."""
