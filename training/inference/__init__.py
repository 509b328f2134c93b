"""A trained network's maps of a case, and the files that hold them."""
