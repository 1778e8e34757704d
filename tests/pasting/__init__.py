"""From frame to face and back."""
