"""Where a head and its mouth lie in the frame, and how pixels get from there and back."""
