"""Benchmarks: `python -m bench` runs the suite, prints a table and stores JSON. Tests never time; this does."""
