"""Early exit: when a network may stop before its last step, what that costs, and how many samples stop when."""
