"""Media files as they come: their streams, times and colours, sound, pictures."""
