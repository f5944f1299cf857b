"""Where a converted network loses accuracy, layer by layer and cause by cause.

``analyze`` hands batches to ``study``, which runs the float rungs of ``ladder`` and the spiking ones of ``spikes`` and
adds their differences up in ``parts``. ``advice`` and ``curve`` read the sums; ``ledger`` holds all of it, shown by
``page`` and ``plots``.
"""
