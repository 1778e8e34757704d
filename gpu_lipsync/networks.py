"""The networks of a run, each in the run's precision where that does not matter to what it finds."""

from __future__ import annotations

import torch

from gpu_lipsync.blend_kernels import keeps_detail
from gpu_lipsync.config import LipSyncConfig
from gpu_lipsync.models import CenterFace, FaceMesh, Wav2Lip, load_face_detector, load_face_mesh, load_wav2lip
from gpu_lipsync.process.device import network_dtype
from gpu_lipsync.process.lack_of_memory import lack_of_memory_named


def load_detector(config: LipSyncConfig, device: torch.device) -> CenterFace | None:
    """The face detector in the precision of this run, unless the box is given."""
    precision = network_dtype(device, fp16=config.fp16)
    return None if config.faces.has_box else load_face_detector(device, dtype=precision)


def load_lip_mesh(config: LipSyncConfig, device: torch.device) -> FaceMesh | None:
    """The landmark network in the precision of this run, unless no detail is kept."""
    precision = network_dtype(device, fp16=config.fp16)
    return load_face_mesh(device, dtype=precision) if keeps_detail(config.blend) else None


def load_generator(config: LipSyncConfig, device: torch.device) -> Wav2Lip:
    """The generator in the precision of this run; what memory its weights lack, no smaller batch gives."""
    with lack_of_memory_named(device):
        return load_wav2lip(config.checkpoint_path, device, network_dtype(device, fp16=config.fp16))
