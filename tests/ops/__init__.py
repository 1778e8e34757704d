"""Image operations against OpenCV and kornia."""
