"""Changes of a network that make it fit a chip: fewer bits, groups, fewer channels, partial sums."""
