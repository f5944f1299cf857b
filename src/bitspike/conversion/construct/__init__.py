"""The spiking network of a folded graph, operation by operation: one neuron per ReLU, each on one integer grid."""
