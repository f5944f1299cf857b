"""Chips and their rules, repairs, and honest energy; everything here reads the integer network and nothing else."""
