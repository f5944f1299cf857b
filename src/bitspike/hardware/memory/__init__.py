"""What the weights of a network cost in memory devices and SRAM: cells, bits, area and the energy of reading them."""
