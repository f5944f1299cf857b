"""The kinds of recipes: what is trained, and what is converted."""
