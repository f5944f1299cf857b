"""Recipes: one paper result as one YAML file of values, checked as a whole before anything runs.

This package knows words and numbers only, and imports no torch. :mod:`bitspike.runs.construct` makes objects of them.
``any_recipe`` holds what all recipes say, ``kinds/`` a file per kind, ``words/`` a file per sort of word.
"""

from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.kinds.convert import ConvertRecipe
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.load import load, names, recipe_of, shipped
from bitspike.recipe.text import dump

__all__ = [
    "AnyRecipe",
    "ConvertRecipe",
    "ProgressiveRecipe",
    "TrainRecipe",
    "dump",
    "load",
    "names",
    "recipe_of",
    "shipped",
]
