"""Photos read from disk while a network trains: a set that holds names only, and its readers."""
