"""Speed and memory of Bitspike against its peers: ``python -m benchmarks list`` shows what can be measured.

A case (:mod:`benchmarks.cases`) holds groups of variants that are compared with each other; :mod:`benchmarks.run`
measures a group and writes one JSON line per variant; :mod:`benchmarks.tables` and :mod:`benchmarks.plots` write
docs/performance.md from those lines. The run records of accuracy live next to it in ``records.py``.
"""
