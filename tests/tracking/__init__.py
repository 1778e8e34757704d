"""Which face, where, when."""
