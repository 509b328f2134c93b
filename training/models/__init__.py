"""Methods, networks and trained models on disk."""
