"""Benchmarks behind the documented numbers: spuproj against other libraries (peers) and against copying memory."""
