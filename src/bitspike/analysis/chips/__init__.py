"""What many chips of one network reach: statistics with intervals, and their figure."""
