"""The event sets that are known by name: one file for each, in which ``SETS`` says what it is and how it is read."""
