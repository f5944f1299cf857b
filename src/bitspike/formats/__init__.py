"""An integer network in the formats of others: C, NIR, ONNX. Reads ``integer.network`` and ``integer.widths``."""
