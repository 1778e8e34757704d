"""How well a checkpoint lip-syncs, and what the blend modes do to a clip: figures and pictures."""
