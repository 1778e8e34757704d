"""`python -m bench.memory`: peak memory of the whole command on 20 s and on 60 s of 1080p, each in a fresh process.

Bars: at most 2.5 GB, and the longer within 10 % of the shorter: memory does not grow with the clip. The
exit code is 1 where they are missed. What was measured is stored in bench/results/memory.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.report import installed_versions

ROOT = Path(__file__).parent.parent
FACE, SPEECH = ROOT / "samples" / "face.mp4", ROOT / "samples" / "speech.wav"
CHECKPOINT = ROOT / "checkpoints" / "demo.safetensors"
RESULTS = ROOT / "bench" / "results"
SIZE, FPS = (1080, 1920), 25
MOST_MB, MOST_GROWTH = 2500, 1.1


def main(argv: list[str] | None = None) -> int:
    """Print a line per length."""
    checkpoint = Path(argv[0]) if argv else CHECKPOINT
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in (20, 60):
            peaks[seconds] = peak_mb(folder, seconds, checkpoint)
            print(f"{seconds} s of {SIZE[1]}x{SIZE[0]}: peak {peaks[seconds]:.0f} MB")
    growth = peaks[60] / peaks[20]
    print(f"60 s against 20 s: {growth:.3f}")
    RESULTS.mkdir(exist_ok=True)
    measured = {"peak_mb": peaks, "growth": growth, "checkpoint": str(checkpoint), "versions": installed_versions()}
    (RESULTS / "memory.json").write_text(json.dumps(measured, indent=1) + "\n")
    return int(max(peaks.values()) > MOST_MB or growth > MOST_GROWTH)


def peak_mb(folder: Path, seconds: int, checkpoint: Path) -> float:
    """Largest resident size of a run over a clip of this length."""
    face, sound, report = folder / f"{seconds}.mp4", folder / f"{seconds}.wav", folder / f"{seconds}.json"
    make_clip(face, seconds, SIZE)
    make_speech(sound, seconds + 0.3)
    command = [
        sys.executable,
        str(ROOT / "inference_fast.py"),
        "--checkpoint_path",
        str(checkpoint),
        "--face",
        str(face),
    ]
    command += ["--audio", str(sound), "--outfile", str(folder / "out.mp4"), "--report", str(report), "--quiet"]
    command += ["--preset", "ultrafast"]
    subprocess.run(command, check=True)
    return float(json.loads(report.read_text())["peak_memory_mb"])


def make_clip(path: Path, seconds: int, size: tuple[int, int]) -> None:
    """The sample's frames, back and forth, in the middle of larger ones: height and width, pixels."""
    with av.open(str(FACE)) as source:
        faces = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    faces += faces[-2:0:-1]
    frame = np.full((*size, 3), 60, np.uint8)
    height, width = faces[0].shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=Fraction(FPS), options={"preset": "ultrafast"})
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        for i in range(seconds * FPS):
            frame[top : top + height, left : left + width] = faces[i % len(faces)]
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode(None))


def make_speech(path: Path, seconds: float) -> None:
    """The sample's speech, over and over."""
    sound = read_sound(SPEECH)
    n_samples = round(seconds * sound.sample_rate_hz)
    samples = np.resize(sound.samples[:1], (1, n_samples))
    with av.open(str(path), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=sound.sample_rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = sound.sample_rate_hz
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
