"""What a recipe names, built: data, model, weights, optimizer."""
