"""The networks: the Wav2Lip generator, the face detector, and landmarks to find and judge mouths by."""

from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.models.face_mesh import FaceMesh, load_face_mesh
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.models.weights import load_wav2lip

__all__ = ["CenterFace", "FaceMesh", "Wav2Lip", "load_face_detector", "load_face_mesh", "load_wav2lip"]
