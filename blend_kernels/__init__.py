"""How a generated mouth is put into a face: the mask and the blend modes."""
