"""The sections that every kind of recipe is made of."""
