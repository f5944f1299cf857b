"""What a run did, made visible: ``report`` is its page, ``ledger`` splits errors, ``plot`` draws networks for users."""
