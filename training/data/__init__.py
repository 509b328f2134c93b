"""Data sets: their files, labels, cases, splits and slices."""
