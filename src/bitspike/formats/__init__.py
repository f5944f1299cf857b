"""An integer network in the formats of others, a folder each; :mod:`bitspike.formats.table` lists them.

This room reads the integer network, its nodes and its proven widths, nothing else.
"""
