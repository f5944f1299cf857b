"""Objects of the words of a recipe: data, model, weights of a file, code of the user's own."""
