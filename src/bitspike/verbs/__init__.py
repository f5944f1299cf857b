"""The verbs of the command line as functions that return plain values: one file a verb, named as the command."""
