"""What the host lacks is no fault of a file, and what a damaged file asks for is no lack of the host's."""

import errno
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from gpu_lipsync.errors import MediaError, ResourceError
from gpu_lipsync.media import containers
from gpu_lipsync.media.containers import decoded
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.media.video_info import probe_video
from tests.clips import tone, write_clip, write_sound


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EMFILE])
def test_what_the_host_is_short_of_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=2)

    def short(*_: object, **__: object) -> None:
        av.error.err_check(-number)

    monkeypatch.setattr(av, "open", short)
    monkeypatch.setattr(containers, "may_be_short", lambda: True)
    with pytest.raises(ResourceError, match="short of memory, threads or open files"):
        probe_video(path)


@pytest.mark.parametrize("offset", [16, 20, 24, 28])
def test_a_size_that_nobody_has_room_for_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    """Of a sample of AAC, 800 MB: FFmpeg says that memory is short, and a service would try it again for ever."""
    monkeypatch.setattr(containers, "may_be_short", lambda: False)  # whatever runs beside
    path = write_sound(tmp_path / "a.m4a", tone(0.4, channels=2), codec="aac")
    content = bytearray(path.read_bytes())
    content[content.index(b"stsz") + offset] = 0x32
    path.write_bytes(content)
    with pytest.raises(MediaError, match="damaged"):
        read_sound(path)


def test_a_lack_of_memory_while_sound_is_decoded_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors of a decoder of sound cost a moment each; with this one a pause would be made of speech."""

    def packet(error: av.FFmpegError | None) -> SimpleNamespace:
        def decode() -> list[int]:
            if error is not None:
                raise error
            return [0]

        return SimpleNamespace(size=9, buffer_ptr=1, decode=decode)

    def frames_beside(error: av.FFmpegError) -> list[int]:
        demuxed = [packet(None), packet(error), packet(None)]
        container = SimpleNamespace(demux=lambda _: demuxed, format=SimpleNamespace(flags=0))
        return list(decoded(container, SimpleNamespace(type="audio")))

    assert frames_beside(av.error.PermissionError(errno.EPERM, "Operation not permitted")) == [0, 0]
    lack = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    monkeypatch.setattr(containers, "may_be_short", lambda: True)
    with pytest.raises(av.error.MemoryError):
        frames_beside(lack)
    monkeypatch.setattr(containers, "may_be_short", lambda: False)
    assert frames_beside(lack) == [0, 0]
