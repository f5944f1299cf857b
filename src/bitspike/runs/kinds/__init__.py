"""The kinds of runs, a file each next to ``kind``, which says what a kind has to do."""
