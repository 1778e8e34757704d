"""Where the checkout's own files lie."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
FACE, SPEECH = SAMPLES / "face.mp4", SAMPLES / "speech.wav"
DEMO = ROOT / "checkpoints" / "demo.safetensors"
