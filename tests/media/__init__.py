"""Files as they come: damaged, odd, unusual."""
