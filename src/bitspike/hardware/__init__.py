"""What hardware asks of an integer network: ``chips`` has rules to keep, ``energy`` has a bill for one inference."""
