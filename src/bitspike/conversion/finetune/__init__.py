"""Fine-tuning with the rounding in the loop, before the conversion: by levels (``prepare``), then over time."""
