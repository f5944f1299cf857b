"""An integer network as a NIR graph, written and read."""
