"""Pure tensor functions: surrogates, neuron equations, rounding, coding. No modules, no state."""
