"""Which face to follow and where it is in every frame: detections, paths, tilts, mouths."""
