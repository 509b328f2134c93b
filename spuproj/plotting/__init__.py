"""Pictures of views. Importing this package does not import matplotlib; drawing does."""
