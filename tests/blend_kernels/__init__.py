"""Masks and blend modes."""
