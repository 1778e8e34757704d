"""A talking clip to be judged: its faces as the generator gets them, what surrounds them, its sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync.audio import SAMPLE_RATE_HZ, load_audio, mel_windows
from gpu_lipsync.config import DecoderName, FrameConfig
from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import crop_faces
from gpu_lipsync.models import FaceMesh, load_face_detector, load_face_mesh
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.process.input_files import require_file
from gpu_lipsync.timeline import Timeline
from gpu_lipsync.tracking.mouth_landmarks import Contexts, find_contexts
from gpu_lipsync.tracking.tracked_frames import track_faces
from gpu_lipsync.video import Video, open_video

BATCH = 16
ENOUGH_FRAMES = 25
_HEARD_BEYOND_S = 1.5  # judging moves the sound by up to a second, and a frame hears a fifth of one


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A talking clip.

    Attributes:
        faces: (N, 3, 96, 96) uint8, as the generator gets them.
        contexts: the same faces for the landmarks.
        frames: when each is on screen, counted in output frames.
        waveform: (n,) at 16 kHz.
        fps: frames a second, exact.
        own_sound: whether the sound is the clip's own; with another one there is no truth to compare with.
    """

    faces: Tensor
    contexts: Contexts
    frames: list[int]
    waveform: Tensor
    fps: Fraction
    own_sound: bool = True


def read_clip(
    path: str | Path,
    device: torch.device,
    *,
    audio: str | Path | None = None,
    max_seconds: float = 20.0,
    decoder: DecoderName = "auto",
) -> Clip:
    """Read a talking clip as the product would: decode, track, crop; frames without a face are left out.

    Args:
        path: the clip.
        device: where to decode and track.
        audio: another sound than the clip's own.
        max_seconds: no more than the clip's beginning.
        decoder: what reads the frames.

    Raises:
        MediaError: unreadable, or without sound where no other is given.
        FaceNotFoundError: fewer than ENOUGH_FRAMES frames have a face.
    """
    waveform = load_audio(require_file(path, "face") if audio is None else require_file(audio, "audio"), device)
    waveform = waveform[: round((max_seconds + _HEARD_BEYOND_S) * SAMPLE_RATE_HZ)]
    with torch.inference_mode(), open_video(path, FrameConfig(decoder=decoder), device) as video:
        n_windows = min(len(mel_windows(waveform, video.fps)), max(1, round(max_seconds * float(video.fps))))
        window_of = _first_shown(video.timeline(n_windows))
        n = max(window_of) + 1
        detector, mesh = load_face_detector(device), load_face_mesh(device)
        frames = (batch for _, batch in video.batches(range(n), BATCH))
        heads = track_faces(frames, detector, FaceConfig(), mesh=mesh, fps=float(video.source_fps))
        with_face = [i for i in heads.with_face() if i in window_of]
        if len(with_face) < ENOUGH_FRAMES:
            raise FaceNotFoundError(
                f"{path} shows a face in {len(with_face)} of {n} frames; judging takes at least {ENOUGH_FRAMES}: "
                "give a longer clip or sound, or a larger --max_seconds"
            )
        faces, contexts = _cut_out(video, heads, with_face, mesh)
        fps = video.fps
    return Clip(
        faces=faces,
        contexts=contexts,
        frames=[window_of[i] for i in with_face],
        waveform=waveform,
        fps=fps,
        own_sound=audio is None,
    )


def _cut_out(video: Video, heads: Heads, chosen: Sequence[int], mesh: FaceMesh) -> tuple[Tensor, Contexts]:
    """The faces of the chosen frames, (N, 3, 96, 96) uint8, and what surrounds them."""
    faces: list[Tensor] = []
    contexts: list[Contexts] = []
    wanted = set(chosen)
    for indices, frames in video.batches(range(chosen[-1] + 1), BATCH):  # again: boxes are final only at the end
        held = [i for i in indices if i in wanted]
        if held:
            shown = frames[torch.tensor([i - indices.start for i in held], device=frames.device)]
            there = heads.picked(held)
            faces.append((crop_faces(shown, there.boxes, tilts=there.tilts) * 255).round().to(torch.uint8))
            contexts.append(find_contexts(shown, there.boxes, mesh, tilts=there.tilts))
    return torch.cat(faces), Contexts.joined(contexts)


def _first_shown(timeline: Timeline) -> dict[int, int]:
    """The output frame at which each source frame is first on screen, where a clip starts late for instance.

    Of the clip's first run through only: repetitions show the same frames again.
    """
    shown: dict[int, int] = {}
    for output in next(timeline.passes()):
        shown.setdefault(timeline.source[output], output)
    return shown
