"""Frames that stay 4:2:0 although they are shown turned or mirrored, as phones' are, or have ten bits."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import Yuv420Frames
from gpu_lipsync.video import open_video
from tests.clips import all_frames, tone, write_clip, write_sound
from tests.places import DEMO
from tests.probe import ffprobe

N_FRAMES = 12


def corners(index: int, height: int, width: int) -> np.ndarray:
    """A picture that looks the same from no two sides."""
    picture = np.full((height, width, 3), 60 + 3 * index, np.uint8)
    picture[: height // 2, : width // 2] = (200, 60, 60)
    picture[: height // 4, width // 2 :] = (60, 200, 60)
    return picture


def kept(path: Path) -> tuple[np.ndarray, Yuv420Frames]:
    """(n, H * 3 // 2, W) uint8 of a clip that is to stay 4:2:0, and how it lies in memory."""
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        assert isinstance(video.layout, Yuv420Frames), video.decoder
        return all_frames(video).numpy(), video.layout


@pytest.mark.parametrize(
    ("rotation", "flips", "filters"),
    [
        (90, (), ["transpose=cclock"]),
        (180, (), ["hflip", "vflip"]),
        (270, (), ["transpose=clock"]),
        (0, ("hflip",), ["hflip"]),
        (90, ("hflip",), ["transpose=cclock", "hflip"]),
    ],
)
def test_planes_are_turned_as_ffmpeg_turns_them(
    tmp_path: Path, rotation: int, flips: tuple[str, ...], filters: list[str]
) -> None:
    """To the last bit: FFmpeg puts these filters in where it shows a clip upright."""
    path = write_clip(tmp_path / "a.mp4", n_frames=N_FRAMES, picture=corners, rotation=rotation, flips=flips)
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=container.streams.video[0])]
        nodes += [graph.add(*words.split("=")) for words in filters]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        upright = []
        for frame in container.decode(video=0):
            graph.push(frame)
            upright.append(graph.pull().to_ndarray())
    planes, _ = kept(path)
    assert np.array_equal(planes, np.stack(upright))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(), ("hflip",), ("vflip",)])
def test_they_show_what_rgb_frames_show(tmp_path: Path, rotation: int, flips: tuple[str, ...]) -> None:
    """Whose turning other tests compare with FFmpeg's; two ways of rounding, a level each."""
    path = write_clip(tmp_path / "a.mp4", n_frames=N_FRAMES, picture=corners, rotation=rotation, flips=flips)
    with open_video(path, FrameConfig()) as video:
        rgb = torch.cat([frames for _, frames in video.batches(range(N_FRAMES), 5)])
    planes, layout = kept(path)
    height, width = rgb.shape[2:]
    whole = layout.part(torch.from_numpy(planes), torch.tensor([[0, 0, width, height]])).rgb
    assert whole.shape == rgb.shape
    assert (whole.int() - rgb.int()).abs().max() <= 2


def test_ten_bits_become_eight(tmp_path: Path) -> None:
    """A quarter, dithered: nowhere off by as much as a level, in the mean not at all."""
    path = write_clip(tmp_path / "a.mkv", n_frames=N_FRAMES, pix_fmt="yuv420p10le")
    with av.open(str(path)) as container:
        quarters = np.stack([frame.to_ndarray() for frame in container.decode(video=0)]) / 4
    apart = kept(path)[0] - quarters
    assert np.abs(apart).max() < 1 and abs(apart.mean()) < 0.05


def test_what_players_guess_from_the_height_is_said_once_turned(tmp_path: Path) -> None:
    """Untagged 480 lines are BT.601; turned upright they are 720, which would be taken for BT.709."""
    path = write_clip(tmp_path / "a.mp4", n_frames=N_FRAMES, size=(480, 720), rotation=90)
    with av.open(str(path)) as container:
        assert int(next(container.decode(video=0)).colorspace) == 2
    speech = write_sound(tmp_path / "a.wav", tone(0.4))
    files = {"face": path, "audio": speech, "checkpoint_path": DEMO, "outfile": tmp_path / "out.mp4"}
    report = run(LipSyncConfig(**files, box=(100, 300, 100, 300), device="cpu"))
    video = ffprobe(tmp_path / "out.mp4")["video"]
    assert "4:2:0" in report.decoder and (video["height"], video["color_space"]) == (720, "smpte170m")
