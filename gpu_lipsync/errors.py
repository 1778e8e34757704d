"""What can go wrong for a reason outside this program, each with its own exit code. A leaf: imports nothing of ours."""

import errno

_SHORTAGES = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}


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


class NvencLostError(EncodeError):
    """NVENC opened, and failed on the way: with another encoder the run may end well."""


class ResourceError(LipSyncError):
    """What a run takes is not there: the device, which another process has for itself, or its memory, with no smaller
    batch left to try, or memory, threads or open files of the host.
    """

    exit_code = 7


def first_line(error: BaseException) -> str:
    """What an error says, or what it is called, as part of a line."""
    said = getattr(error, "strerror", None) or str(error)
    return (said.strip() or type(error).__name__).splitlines()[0][:160]


def is_shortage(error: BaseException) -> bool:
    """Whether the host lacked memory, threads or open files: no fault of the file that was opened."""
    return getattr(error, "errno", None) in _SHORTAGES or "can't start new thread" in str(error)


def shortage(what: str, error: BaseException) -> ResourceError:
    """The error for a lack of those (`is_shortage`); `what` is a clause such as "x.mp4 cannot be read"."""
    reason = getattr(error, "strerror", None) or str(error)
    return ResourceError(
        f"{what} for now: the host is short of memory, threads or open files ({reason}); try again with fewer runs at "
        "once, or raise the process's limits"
    )
