"""A talking clip made to say another sound, and how far its lips are then apart: what judging takes."""

import torch
from torch import Tensor, nn

from gpu_lipsync.audio import mel_windows
from gpu_lipsync.blend_kernels.colourless import desaturated_like
from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.judging.talking_clip import BATCH, Clip
from gpu_lipsync.tracking.mouth_landmarks import lips_apart


@torch.inference_mode()
def resync(clip: Clip, generator: nn.Module, waveform: Tensor) -> Tensor:
    """The clip's faces made to say `waveform` (n,) at 16 kHz, (N, 3, 96, 96) float RGB in [0, 1].

    As the product makes them, grey ones without colour, before they are blended in. A waveform that ends before the
    clip holds its last window.

    Raises:
        CheckpointError: a mouth with NaN or infinity.
    """
    windows = mel_windows(waveform, clip.fps)
    mel = windows[torch.tensor(clip.frames, device=windows.device).clamp(max=len(windows) - 1)]
    parts = zip(mel.split(BATCH), (clip.faces.float() / 255).split(BATCH), strict=True)
    mouths = torch.cat([desaturated_like(generator(sound, faces).float(), faces) for sound, faces in parts])
    require_numbers(mouths)
    return mouths


def require_numbers(mouths: Tensor) -> None:
    """Raise CheckpointError if a generator's mouths hold NaN or infinity: figures of those would look like others."""
    if not bool(mouths.isfinite().all()):
        raise CheckpointError("mouths made are not numbers (NaN or infinite): the checkpoint is damaged; get it anew")


class OpeningMeter:
    """How far the lips of faces put into the clip are apart."""

    def __init__(self, clip: Clip) -> None:
        from gpu_lipsync.models import load_face_mesh

        self._contexts = clip.contexts
        self._mesh = load_face_mesh(clip.faces.device)

    @torch.inference_mode()
    def __call__(self, faces: Tensor) -> Tensor:
        """(N,) of faces (N, 3, 96, 96) in [0, 1], one for each of the clip's."""
        parts = zip(self._contexts.split(BATCH), faces.split(BATCH), strict=True)
        return torch.cat([lips_apart(self._mesh(contexts.with_mouths(part))) for contexts, part in parts])
