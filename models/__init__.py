"""The two networks: the Wav2Lip generator and the face detector."""

from gpu_lipsync.models.face_detector import CenterFace, load_face_detector

__all__ = ["CenterFace", "load_face_detector"]
