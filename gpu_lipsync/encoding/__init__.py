"""The encoders behind `open_writer`, and the file that they write."""
