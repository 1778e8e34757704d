"""What can go wrong for a reason outside this program, each with its own exit code. A leaf: imports nothing."""


class LipSyncError(Exception):
    """Ends a run. The message is one line with the offending value and the way out."""

    exit_code = 1


class ConfigError(LipSyncError, ValueError):
    """A setting is out of its range, or settings contradict each other."""

    exit_code = 2


class MediaError(LipSyncError):
    """A face or sound file is missing, unreadable or holds no usable stream."""

    exit_code = 3


class FaceNotFoundError(LipSyncError):
    """No frame of the clip has a face, or the given box holds none of the frame."""

    exit_code = 4


class CheckpointError(LipSyncError):
    """Weights are missing, unreadable, or belong to another network."""

    exit_code = 5


class EncodeError(LipSyncError):
    """The output cannot be written."""

    exit_code = 6


class DeviceMemoryError(LipSyncError):
    """The device has too little memory, and no smaller batch is left to try; or the host has, or too few threads or
    open files.
    """

    exit_code = 7
