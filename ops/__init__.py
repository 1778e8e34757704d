"""Batched image operations: tensor in, tensor out, on whatever device the tensor is on."""
