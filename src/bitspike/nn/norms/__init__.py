"""Norms: ``base`` holds their one law, gain and shift per channel, and answers for torch's batch norms too."""
