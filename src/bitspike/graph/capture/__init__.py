"""From a module to the canonical graph: copy (from_module), trace (symbolic or exported), run on an example (observe),
write down operation by operation (canonical, with the handlers of functions, shapes, windows, products and layers), and
compare with the model (agree).
"""
