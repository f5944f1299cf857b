"""A module is followed into a graph: by torch.fx or torch.export, operation by operation."""
