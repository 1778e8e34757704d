"""Files whose clocks do not begin at 0 are as whole as others: fragments of a stream, sound that starts late."""

from pathlib import Path

import av
import numpy as np
import pytest

from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.media.video_info import probe_video
from tests.clips import tone, write_clip

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "use_editlist": "0"}


def write_fragments(path: Path, *, begins_at_s: int) -> None:
    """Three seconds of picture and sound in fragments, as of a broadcast: its index says nothing of their length."""
    with av.open(str(path), "w", options=FRAGMENTED) as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt, pictures.options = 128, 96, "yuv420p", {"g": "25", "bf": "0"}
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 100, np.uint8), format="rgb24")
            frame.pts = i
            container.mux(pictures.encode(frame.reformat(format="yuv420p")))
        heard = av.AudioFrame.from_ndarray((32767 * tone(3.0)).astype(np.int16), format="s16", layout="mono")
        heard.sample_rate = 16000
        container.mux([*sound.encode(heard), *pictures.encode(None), *sound.encode(None)])
    with av.open(str(path)) as container:
        ticks = [begins_at_s * round(1 / stream.time_base) for stream in container.streams]
    data, at = bytearray(path.read_bytes()), 0
    del data[data.index(b"mfra") - 4 :]  # the list of fragments, which says when each begins, is not sent along
    while (at := data.find(b"tfdt", at + 1)) > 0:  # when a fragment begins; before it, whose track it is
        track = int.from_bytes(data[(header := data.rindex(b"tfhd", 0, at)) + 8 : header + 12], "big")
        n_bytes = 8 if data[at + 4] else 4
        begins = int.from_bytes(data[at + 8 : at + 8 + n_bytes], "big") + ticks[track - 1]
        data[at + 8 : at + 8 + n_bytes] = begins.to_bytes(n_bytes, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("begins_at_s", [0, 100])
def test_fragments_from_the_middle_of_a_broadcast_are_whole(tmp_path: Path, begins_at_s: int) -> None:
    write_fragments(tmp_path / "a.mp4", begins_at_s=begins_at_s)
    with av.open(str(tmp_path / "a.mp4")) as container:
        (pictures,) = container.streams.video
        assert float(pictures.start_time * pictures.time_base) == begins_at_s
        # FFmpeg's: when it ends.
        assert float(pictures.duration * pictures.time_base) == pytest.approx(begins_at_s + 3, abs=0.1)
    assert probe_video(tmp_path / "a.mp4").n_frames == 75
    assert read_sound(tmp_path / "a.mp4").duration_s == pytest.approx(3.0, abs=0.1)


def test_sound_that_starts_late_and_ends_early_beside_a_long_picture_is_whole(tmp_path: Path) -> None:
    """FFmpeg looks at five seconds of a Matroska file; a stream that has not begun then is given its length."""
    path = write_clip(tmp_path / "a.mkv", n_frames=20 * 25, size=(32, 32), sound=tone(3.0), sound_start_s=10.0)
    with av.open(str(path)) as container:
        (sound,) = container.streams.audio
        assert float(sound.duration * sound.time_base) == pytest.approx(20, abs=0.2)
    assert read_sound(path).duration_s == pytest.approx(13.0, abs=0.2)  # with the silence before it


def test_silence_before_the_sound_makes_nothing_good_that_is_missing(tmp_path: Path) -> None:
    """Two seconds of it and more than half of the sound's four: with silence counted twice they would be all six."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 4 * 16000))
    path = write_clip(tmp_path / "a.mkv", n_frames=150, size=(32, 32), sound=noise, sound_start_s=2.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match="announces 6.* s and holds"):
        read_sound(path)
