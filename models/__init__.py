"""The two networks: the Wav2Lip generator and the face detector."""
