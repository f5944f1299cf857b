"""Event cameras: files as they are published (``files``), frames of events, sets of recordings, a cache."""
