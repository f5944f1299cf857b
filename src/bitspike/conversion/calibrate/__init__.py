"""The real value of a spike of every neuron, read from activations."""
