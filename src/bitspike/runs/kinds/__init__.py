"""How each kind of recipe runs: training, and conversion."""
