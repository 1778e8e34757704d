"""Decoders, and how their frames lie in memory."""
