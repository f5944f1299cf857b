"""What a run did, made visible: firing activity, figures, and the report of one page."""
