"""Models: what a config specifies, the libraries that build them, and their weights."""
