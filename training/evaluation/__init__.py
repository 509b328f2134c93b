"""Measures of predictions, statistics over cases, tables and plots."""
