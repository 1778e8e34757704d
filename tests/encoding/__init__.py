"""Encoders, and the file that they write."""
