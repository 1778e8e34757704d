"""The decoders behind `open_video`: which reads a clip, and how its frames lie in memory."""
