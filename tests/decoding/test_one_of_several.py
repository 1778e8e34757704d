"""Of several video streams the one that counts is decoded, cover pictures are none, and of several GPUs one decodes."""

from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import pytest
import torch
from av.stream import Disposition

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding import decord_decoder
from gpu_lipsync.decoding.decord_decoder import DecordDecoder
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import gradient, tone, write_clip

LEVELS = (60, 180)


def write_streams(path: Path, *dispositions: Disposition, cover: bool = False) -> Path:
    """Ten frames of video for each, the first as bright as the first of LEVELS, and so on; and an album's picture."""
    with av.open(str(path), "w") as container:
        streams = []
        for disposition in dispositions:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.disposition = 128, 96, "yuv420p", disposition
            streams.append(stream)
        if cover:
            add_cover(container)
        for i in range(10):
            for stream, level in zip(streams, LEVELS, strict=False):
                picture = np.full((96, 128, 3), level, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def add_cover(container: Any) -> None:
    """After all other streams have been added."""
    cover = container.add_stream("mjpeg", rate=1)
    (cover.height, cover.width), cover.pix_fmt = (64, 64), "yuvj420p"
    cover.disposition = Disposition.attached_pic
    picture = av.VideoFrame.from_ndarray(gradient(0, 64, 64), format="rgb24").reformat(format="yuvj420p")
    for packet in [*cover.encode(picture), *cover.encode(None)]:
        container.mux(packet)


@pytest.mark.parametrize("as_decoded", [False, True])
def test_of_two_videos_the_default_one_is_decoded(tmp_path: Path, as_decoded: bool) -> None:
    path = write_streams(tmp_path / "a.mkv", Disposition.dub, Disposition.default)
    assert probe_video(path).stream_index == 1
    with open_video(path, FrameConfig(), as_decoded=as_decoded) as video:
        assert ("4:2:0" in video.decoder) == as_decoded
        _, frames = next(video.batches(range(4), 4))
        shown = video.layout.reduced(frames, video.size).float()
    assert (shown - LEVELS[1]).abs().max() <= 3  # rounding and coding; the other one is 120 darker


def test_decord_which_reads_the_first_of_two_is_refused(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "a.mkv", Disposition.dub, Disposition.default)
    with pytest.raises(ConfigError, match="several video streams"):
        open_video(path, FrameConfig(decoder="decord"))


def test_a_cover_beside_a_video_is_no_second_one(tmp_path: Path) -> None:
    """For which decord would be passed over, and a line would tell of it."""
    path = write_streams(tmp_path / "a.mp4", Disposition.default, cover=True)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    with open_video(path, FrameConfig()) as video:
        assert video.decoder.startswith("decord") and not video.notes


@pytest.mark.parametrize(("name", "held"), [("a.mp3", "a cover picture, audio"), ("a.m4a", "a cover picture, audio")])
def test_a_cover_is_no_video_and_not_called_one(tmp_path: Path, name: str, held: str) -> None:
    with av.open(str(tmp_path / name), "w", format={".mp3": "mp3", ".m4a": "mp4"}[name[1:]]) as container:
        sound = container.add_stream("mp3" if name == "a.mp3" else "aac", rate=16000, layout="mono")
        add_cover(container)
        samples = av.AudioFrame.from_ndarray(tone(1.0).astype(np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        for packet in [*sound.encode(samples), *sound.encode(None)]:
            container.mux(packet)
    with pytest.raises(MediaError, match=rf"has no video stream \(it holds: {held}\); --face needs"):
        open_video(tmp_path / name, FrameConfig())


def test_decord_decodes_on_the_gpu_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one, which stands for a build with NVDEC by decoding on the CPU."""
    asked: list[int] = []

    def gpu(index: int) -> Any:
        asked.append(index)
        return decord.cpu(0)

    monkeypatch.setattr(decord_decoder, "_without_nvdec", lambda: False)
    monkeypatch.setattr(decord, "gpu", gpu)
    info = probe_video(write_clip(tmp_path / "a.mp4", n_frames=3))
    for device in ("cuda", "cuda:1"):
        assert DecordDecoder(info, device=torch.device(device)).name.endswith("on cuda")
    assert asked == [0, 1]
