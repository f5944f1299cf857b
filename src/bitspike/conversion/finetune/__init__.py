"""Fine-tuning with the rounding in the loop: by levels, then over time."""
