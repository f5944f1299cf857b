"""One run of a recipe. The order of the work: ``job`` builds what the recipe names, ``carry_out`` trains, ``measure``
makes the spiking network, lowers and proves it, ``record`` and ``folder`` keep what came out.
"""
