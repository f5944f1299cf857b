"""What becomes spikes and what stays real; the rules that decide, and the cut between the two."""
