"""evaluate and compare."""
