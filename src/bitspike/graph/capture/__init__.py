"""From a module to the canonical graph: copy (from_module), trace (symbolic or exported), run on an example (observe),
write down operation by operation (canonical, with a handler for each kind of call), and compare with the model (agree).
"""
