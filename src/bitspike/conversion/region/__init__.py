"""Which operations become spikes (``choose``), whether they can (``rules``), and the graph of them alone (``cut``)."""
