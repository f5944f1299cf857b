"""What a network is for: its loss, its metric, its labels, and what a report shows of its answers; one file a task."""
