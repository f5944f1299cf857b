"""The spiking network of a folded graph: one neuron per ReLU, every layer on one integer grid."""
