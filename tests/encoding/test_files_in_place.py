"""What ends up in the output file: all of the new one and nothing of the old, as asked for, ready to be streamed."""

import errno
import os
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.errors import EncodeError
from tests.probe import ffprobe
from tests.writing import encode, pictures, shape_of


def mounted(folder: Path, monkeypatch: pytest.MonkeyPatch, *, size: int = 7, number: int = errno.EBUSY) -> Path:
    """A file that cannot be replaced, as one that is mounted by itself into a container."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.replace", refused)
    target = folder / "out.mp4"
    target.write_bytes(b"mounted" * (size // 7))
    return target


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EPERM, errno.EACCES])
def test_nothing_is_left_of_a_longer_file_that_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever way the system refuses to replace it."""
    target = mounted(tmp_path, monkeypatch, size=700_000, number=number)
    encode(target, shape_of(64, 64), pictures(25, 64, 64))
    assert b"mounted" not in target.read_bytes() and list(tmp_path.iterdir()) == [target]


def test_where_there_is_room_for_a_part_only_a_file_stays_as_long_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_part(descriptor: int, _: int, size: int) -> None:
        os.ftruncate(descriptor, size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    target = mounted(tmp_path, monkeypatch)
    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.posix_fallocate", in_part)
    with pytest.raises(EncodeError, match="No space left"):
        encode(target, shape_of(64, 64), pictures(25, 64, 64))
    assert target.read_bytes() == b"mounted"


@pytest.mark.parametrize(("preset", "crf"), [("ultrafast", 30), ("veryfast", 18)])
def test_preset_and_crf_are_those_asked_for(tmp_path: Path, preset: str, crf: int) -> None:
    """x264 writes what it was told into the stream; of these presets the fastest alone does without CABAC."""
    path = encode(tmp_path / "a.mp4", shape_of(64, 64), pictures(4, 64, 64), preset=preset, crf=crf)
    told = path.read_bytes()
    assert (b" cabac=0 " in told) == (preset == "ultrafast") and f" crf={crf}.0 ".encode() in told


@pytest.mark.parametrize("n_channels", [1, 2])
def test_sound_gets_96_kbit_a_second_and_channel(tmp_path: Path, n_channels: int) -> None:
    """Of noise, which takes all that it is given."""
    shape = shape_of(32, 32, n_frames=75, rate=48000, channels=n_channels)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (n_channels, 3 * 48000)).astype(np.float32)
    shape = replace(shape, sound=replace(shape.sound, samples=noise))
    path = encode(tmp_path / "a.mp4", shape, pictures(75, 32, 32), preset="ultrafast")
    # The muxer's own mean, over three seconds.
    assert int(ffprobe(path)["audio"]["bit_rate"]) == pytest.approx(96_000 * n_channels, rel=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov"])
def test_the_index_comes_before_the_pictures(tmp_path: Path, suffix: str) -> None:
    """Or browsers would have to load all of a file before they show any."""
    content = encode(tmp_path / f"a{suffix}", shape_of(64, 64), pictures(4, 64, 64)).read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_sound_lies_beside_its_pictures(tmp_path: Path) -> None:
    shape = shape_of(32, 32, n_frames=160, fps=Fraction(10))
    path = encode(tmp_path / "a.mp4", shape, pictures(160, 32, 32), preset="ultrafast")
    with av.open(str(path)) as container:
        coded: list[Any] = [packet for packet in container.demux() if packet.size]
        packets = sorted((p.pos, p.stream.type, float(p.dts * p.time_base)) for p in coded)
    at, apart = {"video": 0.0, "audio": 0.0}, 0.0
    for _, kind, moment in packets:
        at[kind] = moment
        apart = max(apart, abs(at["video"] - at["audio"]))
    assert apart < 2  # s: a batch of eight frames is 0.8; sound that is sent at the end lies six away


def test_of_two_runs_with_one_outfile_the_last_one_s_stays(tmp_path: Path) -> None:
    """Each writes a hidden file of its own."""
    target = tmp_path / "out.mp4"
    with (
        open_writer(target, shape_of(64, 64), EncodeConfig()) as first,
        open_writer(target, shape_of(32, 48), EncodeConfig()) as second,
    ):
        beside = sorted(path.name for path in tmp_path.iterdir())
        assert len(beside) == 2 and all(re.fullmatch(r"\.out\.[0-9a-f]{8}\.mp4", name) for name in beside)
        first.write(pictures(8, 64, 64))
        second.write(pictures(8, 32, 48))
        first.finish()
        second.finish()
    assert list(tmp_path.iterdir()) == [target]
    with av.open(str(target)) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (32, 48)


def test_what_a_disk_says_only_when_all_is_written_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As network disks tell of a quota; the file that was there stays."""

    def full(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EncodeError, match=r"Disk quota exceeded.*free space"):
        encode(target, shape_of(64, 64), pictures(8, 64, 64))
    assert target.read_bytes() == b"before" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_that_cannot_say_whether_all_is_written_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some file systems that are programs, or lie behind a network, have no fsync."""

    def none(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", none)
    target = encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(4, 64, 64))
    assert ffprobe(target)["video"]["nb_read_frames"] == "4" and list(tmp_path.iterdir()) == [target]
