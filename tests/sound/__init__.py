"""Sound: mel, loudness, pauses."""
