"""Clips as users have them: without colour tags, turned in other ways than MP4's, slow, fast, bare, tiny, in tiles."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import ExifTags, Image

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.decoders import DecoderUnavailableError
from gpu_lipsync.decoding.decord_decoder import DecordDecoder
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.errors import MediaError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.media.colours import Colours
from gpu_lipsync.media.containers import chosen_stream
from gpu_lipsync.media.stills import read_still
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.tracked_frames import tracked_frames
from gpu_lipsync.video import open_video
from tests.clips import gradient, write_clip
from tests.reports import fresh_report
from tests.writing import sound_of

CPU = torch.device("cpu")


def red(_index: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), (200, 40, 40), np.uint8)


@pytest.mark.parametrize(("height", "matrix"), [(96, "bt601"), (720, "bt709")])
def test_without_tags_the_size_tells_the_matrix_as_in_players(tmp_path: Path, height: int, matrix: str) -> None:
    """Planes keep their numbers, and the copy says as little as the source; RGB is what players show."""
    path = write_clip(tmp_path / "a.mp4", n_frames=2, size=(height, 128), picture=red)
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        assert video.colours == Colours(matrix, 2, 2, 2)  # type: ignore[arg-type]
    with open_video(path, FrameConfig()) as video, av.open(str(path)) as container:
        (_, frames), *_ = video.batches(range(1), 1)
        space = {"bt601": "ITU601", "bt709": "ITU709"}[matrix]
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24", src_colorspace=space)
        assert video.decoder.startswith("decord" if matrix == "bt601" else "PyAV")
    shown = frames[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(shown - expected).max() <= 2  # swscale's fast path and its exact one
    assert (np.abs(shown - red(0, height, 128)).max() > 8) == (matrix == "bt709"), "written by swscale as BT.601"


def test_tagged_hd_is_what_it_says(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mp4", n_frames=2, size=(720, 128), picture=red, options={"x264-params": "colormatrix=smpte170m"}
    )
    assert not probe_video(path).untagged_hd
    with open_video(path, FrameConfig()) as video:
        (_, frames), *_ = video.batches(range(1), 1)
    assert np.abs(frames[0].permute(1, 2, 0).numpy().astype(int) - red(0, 720, 128)).max() <= 3


@pytest.mark.parametrize("rotation", [90, 180])
def test_what_decord_does_not_turn_is_left_to_another(tmp_path: Path, rotation: int) -> None:
    """It knows MP4's way of saying so, not Matroska's."""
    path = write_clip(tmp_path / "a.mkv", n_frames=4, rotation=rotation)
    info = probe_video(path)
    assert info.rotation == rotation
    with open_video(path, FrameConfig()) as video:
        (_, frames), *_ = video.batches(range(4), 4)
        assert video.decoder.startswith("PyAV") and "decord" in video.notes[0]
    expected = np.rot90(np.stack([gradient(i, 96, 128) for i in range(4)]), rotation // 90, axes=(1, 2))
    assert np.abs(frames.permute(0, 2, 3, 1).numpy().astype(int) - expected).mean() < 2  # lossy


def test_decord_is_not_asked_about_hd_without_tags(tmp_path: Path) -> None:
    info = probe_video(write_clip(tmp_path / "a.mp4", n_frames=2, size=(720, 128)))
    with pytest.raises(DecoderUnavailableError, match="BT.601"):
        DecordDecoder(info, device=CPU)


def test_interlaced_clips_are_told(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    with open_video(write_clip(tmp_path / "a.mp4", options=options), FrameConfig(), as_decoded=True) as video:
        assert ["interlaced" in note for note in video.notes] == [True]


def test_lips_move_in_a_clip_of_slides(tmp_path: Path) -> None:
    """Five pictures, a second each: 25 frames a second of them, and the last one as long as the others."""
    path = write_clip(tmp_path / "a.mp4", n_frames=5, fps=Fraction(1))
    with open_video(path, FrameConfig()) as video:
        assert (video.fps, video.source_fps) == (25, 1) and "1 frames a second" in video.notes[-1]
        assert video.timeline(150).source == tuple(i // 25 % 5 for i in range(150))
        assert StreamShape.of_video(video, 150, sound_of(6.0)).fps == 25
    with open_video(write_clip(tmp_path / "b.mp4", fps=Fraction(10)), FrameConfig()) as video:
        assert video.fps == 10


def test_a_slow_clip_that_repeats_shows_the_same_each_time(tmp_path: Path) -> None:
    """Eight frames a second shown at five: 1.375 s of it are seven frames."""
    path = write_clip(tmp_path / "slow.mp4", n_frames=11, fps=Fraction(8))
    with open_video(path, FrameConfig(fps=8.0)) as video:
        assert video.fps == 8 and not video.notes, "nothing becomes different"
    with open_video(path, FrameConfig(fps=5.0)) as video:
        timeline = video.timeline(30)
        first, *_ = timeline.passes()
        assert len(first) == len({timeline.source[i] for i in first}) == 7
        assert timeline.source == tuple(timeline.source[i % 7] for i in range(30))
        tracker = FaceTracker(None, FaceConfig(box=(0, 64, 0, 64)), fps=8.0)
        outputs = [i for part, *_ in tracked_frames(video, timeline, tracker, fresh_report(4)) for i in part]
    assert outputs == list(range(30))


def test_hidden_frames_of_vp8_are_no_source_frames(tmp_path: Path) -> None:
    """Others refer to them, players do not show them: alt-ref frames, which two passes of libvpx make."""
    plain, hidden = write_clip(tmp_path / "plain.webm", codec="libvpx"), tmp_path / "hidden.webm"
    with av.open(str(plain)) as read, av.open(str(hidden), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for i, packet in enumerate(p for p in read.demux(video=0) if p.size):
            content = bytearray(bytes(packet))
            content[0] &= ~0x10 if i == 7 else 0xFF  # show_frame
            copy = av.Packet(bytes(content))
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
            copy.is_keyframe = packet.is_keyframe
            write.mux(copy)
    with open_video(plain, FrameConfig()) as video:
        (_, expected), *_ = video.batches(range(20), 20)
    with open_video(hidden, FrameConfig()) as video:
        assert video.decoder.startswith("PyAV") and not any("damaged" in note for note in video.notes)
        (_, frames), *_ = video.batches(range(19), 19)
    assert torch.equal(frames, expected[[i for i in range(20) if i != 7]])


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "a.mp4"), ("libvpx", "a.webm")])
def test_codecs_that_hold_frames_are_not_left_to_decord(tmp_path: Path, codec: str, name: str) -> None:
    """It takes every packet for a picture, and shows wrong ones from the first that is none."""
    info = probe_video(write_clip(tmp_path / name, codec=codec))
    with pytest.raises(DecoderUnavailableError, match="show nothing"):
        DecordDecoder(info, device=CPU)


def test_slow_motion_may_be_a_little_faster_than_it_says(tmp_path: Path) -> None:
    assert probe_video(write_clip(tmp_path / "a.mp4", n_frames=30, fps=Fraction(24087, 100))).fps > 240
    with pytest.raises(MediaError, match="out of range"):
        probe_video(write_clip(tmp_path / "b.mp4", n_frames=30, fps=Fraction(300)))


def test_a_bare_stream_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="without timestamps.*ffmpeg -i"):
        probe_video(write_clip(tmp_path / "a.h264"))


def test_a_photo_in_tiles_is_not_taken_for_one_of_them(tmp_path: Path) -> None:
    """As FFmpeg shows the HEIC of phones: a stream for each tile, none for the whole."""
    tiles = [SimpleNamespace(disposition=Disposition.dependent, codec_context=object()) for _ in range(6)]
    thumbnail = SimpleNamespace(disposition=Disposition.default, codec_context=object())
    for brand, streams in (("heic", tiles), ("mif1", [*tiles, thumbnail])):
        container = SimpleNamespace(streams=SimpleNamespace(video=streams), metadata={"major_brand": brand})
        with pytest.raises(MediaError, match="6 tiles"):
            chosen_stream(tmp_path / "a.heic", container, "video")
    container = SimpleNamespace(streams=SimpleNamespace(video=[tiles[0], thumbnail]), metadata={})
    assert chosen_stream(tmp_path / "a.ts", container, "video") is thumbnail, "an enhancement is not the picture"


def test_a_picture_that_only_could_be_transparent_is_not(tmp_path: Path) -> None:
    picture = Image.fromarray(gradient(3, 64, 80)).convert("RGBA")
    picture.save(tmp_path / "a.png")
    still = read_still(tmp_path / "a.png")
    assert not still.had_alpha and np.array_equal(still.pixels, gradient(3, 64, 80))


def test_of_a_clip_with_transparent_parts_a_line_tells(tmp_path: Path) -> None:
    path, half = tmp_path / "a.mov", np.full((64, 80, 4), 255, np.uint8)
    half[:, :40, 3] = 0
    for alpha, told in ((half, True), (np.full_like(half, 255), False)):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("qtrle", rate=25)
            stream.width, stream.height, stream.pix_fmt = 80, 64, "argb"
            for _ in range(2):
                frame = av.VideoFrame.from_ndarray(alpha, format="rgba").reformat(format="argb")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with open_video(path, FrameConfig()) as video:
            assert any("transparent parts" in note for note in video.notes) == told


def test_a_tiny_face_is_the_file_s_fault(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", size=(16, 16), rotation=90)
    for rotate in (False, True):
        with pytest.raises(MediaError, match="16x16"):
            open_video(path, FrameConfig(rotate=rotate))


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_of_an_animation_that_is_shown_still_a_line_tells(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(gradient(i, 96, 128)) for i in range(3)]
    pictures[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pictures[1:])
    with open_video(tmp_path / f"a{suffix}", FrameConfig()) as video:
        assert video.n_frames == 1 and ["animation (3 pictures)" in note for note in video.notes] == [True]


@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_frames_of_cameras_that_carry_exif_are_frames(tmp_path: Path, suffix: str) -> None:
    """PyAV 18.1 raises ValueError where a frame has what it has no name for."""
    exif, jpeg = Image.Exif(), BytesIO()
    exif[ExifTags.Base.Make] = "a camera"
    Image.fromarray(gradient(0, 96, 128)).save(jpeg, "JPEG", exif=exif)
    with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for i in range(5):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = i
            container.mux(packet)
    with open_video(tmp_path / f"a{suffix}", FrameConfig()) as video:
        frames = torch.cat([batch for _, batch in video.batches(range(5), 5)])
    expected = torch.from_numpy(gradient(0, 96, 128)).permute(2, 0, 1)
    assert len(frames) == 5
    assert (
        frames.float() - expected
    ).abs().mean() < 3  # levels: JPEG at Pillow's quality of 75, and the planes' rounding
