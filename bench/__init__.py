"""Benchmarks: `python -m bench` runs the suite, prints a table and stores JSON. Tests never time; this does."""

import os

# As the command does (gpu_lipsync/process/own_process.py), before anything here imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
