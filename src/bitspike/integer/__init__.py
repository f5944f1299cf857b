"""The one integer form: a network of integers, what it means, its proven widths, its proof, its folder, its engine."""
