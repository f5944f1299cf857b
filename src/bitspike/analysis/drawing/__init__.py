"""How figures and pages are drawn: marks, plots, markup, the words that both use."""
