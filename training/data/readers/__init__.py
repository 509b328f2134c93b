"""Where the files of a data set are: one module for each format."""
