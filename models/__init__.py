"""The two networks: the Wav2Lip generator and the face detector."""

from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.models.weights import load_wav2lip

__all__ = ["CenterFace", "Wav2Lip", "load_face_detector", "load_wav2lip"]
