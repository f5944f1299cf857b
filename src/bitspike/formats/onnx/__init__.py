"""An integer network as ONNX: step by step, as a sequence, from counts, and as QONNX."""
