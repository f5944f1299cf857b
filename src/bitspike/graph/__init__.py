"""A network as a graph of operations. ``capture`` makes it from a module, ``flow`` and ``wires`` answer questions to
it, ``rebuild`` runs it or makes a module of it again.
"""
