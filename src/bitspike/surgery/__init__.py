"""A graph is changed so that it fits a chip: groups, fewer channels, partial sums."""
