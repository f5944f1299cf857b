"""Objects of the words of a recipe: data, weights of a file, code of the user's own."""
