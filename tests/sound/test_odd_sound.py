"""Sound in files that are out of the ordinary: time that none is stamped for, channels that come later, old tags."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gpu_lipsync.media.sound_file import read_sound
from tests.clips import tone, write_sound

PACKET = 960  # samples


def write_with_a_pause(path: Path, codec: str, rate: int, *, pause_s: int) -> Path:
    """Three seconds of sound, some without any packet, three of sound."""
    speech = tone(6.0, rate).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        packets: list[Any] = []
        for start in range(0, speech.shape[1], PACKET):
            part = np.ascontiguousarray(speech[:, start : start + PACKET])
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            later = round((pause_s if packet.pts * packet.time_base >= 3 else 0) / packet.time_base)
            packet.pts, packet.dts = packet.pts + later, packet.dts + later
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "pause_s"),
    [
        ("a.m4a", "aac", 48000, 2),
        ("a.m4a", "aac", 48000, 50),
        ("a.ts", "aac", 48000, 2),
        ("a.ts", "aac", 48000, 50),
        ("a.ogg", "libopus", 48000, 2),
        ("a.flv", "aac", 44100, 2),
    ],
)
def test_time_that_no_sound_is_stamped_for_is_silence(
    tmp_path: Path, name: str, codec: str, rate: int, pause_s: int
) -> None:
    """Whatever follows would come early; only a minute and more is taken for a joint of two recordings."""
    heard = read_sound(write_with_a_pause(tmp_path / name, codec, rate, pause_s=pause_s))
    assert heard.duration_s == pytest.approx(6 + pause_s, abs=0.1)  # s: what encoders put before the sound, and packets
    tenths = heard.samples[0, : int(heard.duration_s) * rate].reshape(-1, rate // 10)
    loud = np.abs(tenths).max(axis=1) > 0.25  # half the tone's amplitude
    # Two tenths where the pause begins and ends may be either: codecs smear, and it does so with a packet.
    end = 30 + 10 * pause_s
    assert loud[1:30].all() and not loud[32 : end - 1].any() and loud[end + 1 : end + 29].all()


def test_a_second_channel_that_comes_later_is_heard_in_the_first(tmp_path: Path) -> None:
    """Of recordings joined byte by byte, one of one channel and one that speaks on the right alone."""
    right = np.concatenate([0 * tone(1.0, 44100), tone(1.0, 44100)])
    for name, samples in (("mono", tone(1.0, 44100)), ("right", right)):
        write_sound(tmp_path / f"{name}.mp3", samples, rate=44100, codec="mp3")
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join((tmp_path / f"{name}.mp3").read_bytes() for name in ("mono", "right")))
    later = read_sound(joined).samples[:, 60000:80000]
    # The mean of silence and a tone of amplitude 0.5; MP3 loses a twentieth of it.
    assert np.sqrt(np.square(later).mean()) == pytest.approx(0.25 / 2**0.5, rel=0.1)


def test_tags_in_an_old_encoding_are_no_damage(tmp_path: Path) -> None:
    """Latin-1, as Windows programs wrote it."""
    path = write_sound(tmp_path / "a.wav", tone(0.5))
    name = b"Caf\xe9 del mar\0"
    name += bytes(len(name) % 2)
    info = b"INFOINAM" + struct.pack("<I", len(name)) + name
    content = path.read_bytes() + b"LIST" + struct.pack("<I", len(info)) + info
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert read_sound(path).duration_s == 0.5
