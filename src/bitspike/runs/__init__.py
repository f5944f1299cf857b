"""One run of a recipe: its folder, its stages, what was measured and where."""
