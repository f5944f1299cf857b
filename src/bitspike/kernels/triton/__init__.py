"""Fused loops for CUDA, in Triton."""
