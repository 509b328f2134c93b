"""Figures and HTML pages of predicted cases."""
