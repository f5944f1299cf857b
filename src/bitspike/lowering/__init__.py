"""A torch network becomes an integer network: modules, layers, neurons, and how well both agree."""
