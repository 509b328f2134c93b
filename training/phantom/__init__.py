"""Synthetic glioma patients."""
