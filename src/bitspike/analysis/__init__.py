"""What a run did, made visible: ``report`` is its page, ``ledger`` splits conversion errors, ``drawing`` draws both."""
