"""The one integer form: networks, exact simulation, lowering, proof."""
