"""How figures and pages are drawn: ``marks`` of cells, ``plots`` with axes, ``markup`` that escapes, ``words``."""
