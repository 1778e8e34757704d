"""Make samples/face.mp4 and samples/speech.wav from material that may ship. The same bytes every time.

The face is the portrait of the astronaut Eileen Collins in scikit-image (NASA, public domain), its head made to move by
smooth warps. The speech is espeak-ng's. Needs the dev and tools extras. From the
checkout: python -m gpu_lipsync.tools.make_samples
"""

import argparse
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from gpu_lipsync.tools.espeak import Espeak

FPS = 25
N_FRAMES = 125
SIDE_PX = 512
CROP = (slice(0, 272), slice(88, 360))  # rows and columns of the portrait: head and shoulders
HEAD_CENTRE = (0.51, 0.43)  # x, y in the crop
HEAD_RADII = (0.34, 0.46)  # where the motion has faded to nothing, as parts of the crop
SENTENCE = "Good morning, and welcome back. My name is Emma, and today, I will show you how this works."


def head_motion(seconds: float) -> tuple[float, float, float, float]:
    """Tilt in degrees, shift x and y in px, turn in px at the tip of the nose; zero at the start, smooth throughout."""
    tilt = 2.2 * np.sin(2 * np.pi * 0.31 * seconds) * np.cos(0.4 * seconds)
    shift_x = 5.0 * np.sin(2 * np.pi * 0.23 * seconds)
    shift_y = 3.0 * np.sin(2 * np.pi * 0.42 * seconds) ** 2 * np.sign(np.sin(2 * np.pi * 0.21 * seconds))
    turn = 5.0 * np.sin(2 * np.pi * 0.17 * seconds)
    return float(tilt), float(shift_x), float(shift_y), float(turn)


def moved_head(portrait: NDArray[np.uint8], seconds: float) -> NDArray[np.uint8]:
    """Move the head of `portrait` (SIDE_PX, SIDE_PX, 3); what is far from it stays where it is."""
    tilt, shift_x, shift_y, turn = head_motion(seconds)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)
    from_x, from_y = x - HEAD_CENTRE[0] * SIDE_PX, y - HEAD_CENTRE[1] * SIDE_PX
    distance = np.hypot(from_x / (HEAD_RADII[0] * SIDE_PX), from_y / (HEAD_RADII[1] * SIDE_PX)).clip(0, 1)
    share = (1 - distance**2) ** 2 * (1 + 2 * distance**2)  # 1 at the centre, falling smoothly to 0
    sine, cosine = np.sin(np.radians(tilt)), np.cos(np.radians(tilt))
    move_x = cosine * from_x + sine * from_y - from_x - shift_x - turn * share
    move_y = -sine * from_x + cosine * from_y - from_y - shift_y
    map_x, map_y = (x + share * move_x).astype(np.float32), (y + share * move_y).astype(np.float32)
    moved = cv2.remap(portrait, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return moved.astype(np.uint8, copy=False)


def write_face(path: Path) -> None:
    """Write five seconds of the moving portrait: 512×512, 25 fps, H.264, tagged BT.709, no sound."""
    portrait = cv2.resize(skimage.data.astronaut()[CROP], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LANCZOS4)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "21", "preset": "slow", "threads": "1"})
        stream.width = stream.height = SIDE_PX
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = 1, 1  # BT.709, limited range
        context.color_primaries = context.color_trc = 1
        for index in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(moved_head(portrait, index / FPS), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=1)))
        container.mux(stream.encode())


def write_speech(path: Path) -> None:
    """Write the sentence, with its pauses: mono, 16 bit."""
    speech = Espeak().speak(SENTENCE, "en-us+f3", rate_wpm=170, pitch=45)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.sample_rate_hz)
        file.writeframes(speech.samples.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / "samples")
    folder = parser.parse_args().folder
    folder.mkdir(exist_ok=True)
    write_face(folder / "face.mp4")
    write_speech(folder / "speech.wav")
    for name in ("face.mp4", "speech.wav"):
        print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
