"""Device, threads, memory, signals."""
