"""NVDEC's way through PyAV, with pictures that the CPU decodes: FFmpeg and its layouts are the same."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from gpu_lipsync.decoding.decoders import Decoder, DecoderUnavailableError, require_same_picture
from gpu_lipsync.decoding.nvdec import NvdecDecoder
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.containers import decoded
from gpu_lipsync.media.video_info import VideoInfo, probe_video
from gpu_lipsync.ops.yuv import YuvMatrix, nv12_to_rgb, rgb_to_nv12
from tests.clips import write_clip, write_clip_of_two_sizes
from tests.pictures import face_like
from tests.places import FACE

SPACES: dict[YuvMatrix, Colorspace] = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}


class OnTheHost(NvdecDecoder):
    """Pictures of FFmpeg's CPU decoder, laid out as NVDEC has them."""

    def __init__(self, info: VideoInfo, tell: Callable[[str], None] | None = None) -> None:
        super().__init__(info, torch.device("cpu"), tell)

    def _kept(self, frame: Any) -> Any:
        return super()._kept(frame.reformat(format="nv12"))


def nvdec_on(device: str, info: VideoInfo) -> NvdecDecoder:
    """The real one where there is a GPU, whose context PyTorch is in already: FFmpeg has to join it there."""
    if device == "cpu":
        return OnTheHost(info)
    torch.zeros(1, device=device)
    return NvdecDecoder(info, torch.device(device))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", SPACES)
@pytest.mark.parametrize("size", [(96, 128), (70, 102)])
def test_nv12_to_rgb_matches_swscale(size: tuple[int, int], matrix: YuvMatrix, full_range: bool, device: str) -> None:
    import av

    picture = av.VideoFrame.from_ndarray(face_like(*size), format="rgb24")
    space, spread = SPACES[matrix], ColorRange.JPEG if full_range else ColorRange.MPEG
    planar = picture.reformat(format="nv12", dst_colorspace=space, dst_color_range=spread)
    height, width = size
    rows = planar.to_ndarray()
    chroma = rows[height:].reshape(height // 2, width // 2, 2).repeat(2, axis=0).repeat(2, axis=1)
    shared = av.VideoFrame.from_ndarray(np.stack([rows[:height], chroma[..., 0], chroma[..., 1]]), format="yuv444p")
    exact = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    expected = shared.reformat(
        format="rgb24",
        src_colorspace=space,
        src_color_range=spread,
        dst_color_range=ColorRange.JPEG,
        interpolation=exact,
    ).to_ndarray()
    planes = torch.from_numpy(planar.to_ndarray())[None].to(device)
    result = nv12_to_rgb(planes, matrix=matrix, full_range=full_range)
    assert result.shape == (1, 3, *size) and result.is_contiguous(memory_format=torch.channels_last)
    difference = np.abs(result[0].permute(1, 2, 0).cpu().numpy().astype(int) - expected)
    assert difference.max() <= 1 and difference.mean() < 0.02  # ties in rounding


def test_there_and_back(device: str) -> None:
    """Colours without detail survive 4:2:0 but for rounding."""
    colours = torch.randint(0, 256, (6, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = colours.expand(6, 3, 32, 48).contiguous().to(device)
    back = nv12_to_rgb(rgb_to_nv12(frames), matrix="bt709")
    assert (back.int() - frames.int()).abs().max() <= 2  # three channels in 220 steps


def test_chroma_is_as_sharp_after_the_trip(device: str) -> None:
    """What is not touched is the source but for rounding: single columns and rows of colour, and a checkerboard."""
    luma = torch.full((3, 32, 48), 120, dtype=torch.uint8)
    chroma = torch.full((3, 16, 24, 2), 128, dtype=torch.uint8)
    chroma[0, :, ::5] = 150
    chroma[1, ::5] = 110
    chroma[2, ::2, ::2, 0], chroma[2, 1::2, 1::2, 1] = 145, 112
    planes = torch.cat([luma, chroma.flatten(2)], dim=1).to(device)
    back = rgb_to_nv12(nv12_to_rgb(planes, matrix="bt709"))
    assert (back.int() - planes.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("planes", "matrix", "error", "message"),
    [
        (torch.zeros(1, 48, 32), "bt709", TypeError, "float32"),
        (torch.zeros(1, 47, 32, dtype=torch.uint8), "bt709", ValueError, r"\(1, 47, 32\)"),
        (torch.zeros(48, 32, dtype=torch.uint8), "bt709", ValueError, r"\(48, 32\)"),
        (torch.zeros(1, 48, 32, dtype=torch.uint8), "rec709", ValueError, "'rec709'"),
    ],
)
def test_what_cannot_become_rgb(planes: Tensor, matrix: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nv12_to_rgb(planes, matrix=matrix)


def frames_of(decoder: Decoder, start: int, stop: int) -> Tensor:
    return torch.cat(list(decoder.batches(start, stop, 4))).cpu()


def require_same_frames(info: VideoInfo, device: str) -> None:
    decoder = nvdec_on(device, info)
    require_same_picture(decoder, info)
    ours, theirs = (frames_of(d, 3, 9).float() for d in (decoder, PyavDecoder(info)))
    assert ours.shape == theirs.shape and (ours - theirs).abs().mean() < 0.8  # swscale's fast path, brightened
    apart = (ours[:, None] - theirs[None]).abs().mean((2, 3, 4))
    assert torch.equal(apart.argmin(1), torch.arange(6)), "each frame is itself"


def test_the_same_frames_as_on_the_cpu(device: str) -> None:
    require_same_frames(probe_video(FACE), device)


@pytest.mark.parametrize("name", ["vretalk_3_woman_flag.mp4", "latentsync_demo1_woman_seated_portrait.mp4"])
def test_the_same_frames_of_real_clips(media: Path, name: str, device: str) -> None:
    """BT.601 and H.264; BT.709 and HEVC."""
    require_same_frames(probe_video(media / "video" / name), device)


def test_a_look_at_the_first_frame_opens_the_clip_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = OnTheHost._opened
    monkeypatch.setattr(OnTheHost, "_opened", lambda self: opened.append(self) or real(self))
    decoder = OnTheHost(probe_video(FACE))
    first = frames_of(decoder, 0, 1)
    whole = frames_of(decoder, 0, 12)
    assert len(opened) == 1 and torch.equal(first, whole[:1]) and len(whole) == 12
    assert torch.equal(frames_of(decoder, 0, 12), whole) and len(opened) == 2, "a second pass opens it again"


def test_a_file_that_is_gone_on_a_later_pass_is_no_lack_of_memory(tmp_path: Path) -> None:
    """For which the run would begin again, with ever smaller batches."""
    clip = tmp_path / "a.mp4"
    shutil.copy(FACE, clip)
    decoder = OnTheHost(probe_video(clip))
    assert len(frames_of(decoder, 0, 4)) == 4
    clip.unlink()
    with pytest.raises(MediaError, match="does not exist"):
        frames_of(decoder, 0, 4)


def test_a_refusal_is_found_with_the_first_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's H.264 decoder says "invalid data" of each packet that a device refuses, as of a damaged one."""
    tried = []

    def refused() -> Any:
        tried.append(1)
        raise av.InvalidDataError(-1094995529, "Invalid data found when processing input")

    demuxed = [SimpleNamespace(decode=refused, size=1) for _ in range(5)]
    container = SimpleNamespace(demux=lambda _: demuxed, format=SimpleNamespace(flags=0))
    with pytest.raises(av.InvalidDataError):
        list(decoded(container, SimpleNamespace(type="video"), hardware=True))
    assert len(tried) == 1
    assert not list(decoded(container, SimpleNamespace(type="video"))) and len(tried) == 6
    assert NvdecDecoder._hardware and OnTheHost(probe_video(FACE))._threads(100) == "SLICE"


def test_each_picture_is_shown_as_it_is_tagged() -> None:
    """Clips joined byte by byte change from BT.601 to BT.709 within a batch, and from one range to the other."""
    kept: list[Any] = []

    class Joined(OnTheHost):
        def _kept(self, frame: Any) -> Any:
            frame = frame.reformat(format="nv12")
            frame.colorspace = 1 if len(kept) >= 3 else 6
            frame.color_range = ColorRange.JPEG if len(kept) in (2, 3) else ColorRange.MPEG
            kept.append(NvdecDecoder._kept(self, frame))
            return kept[-1]

    frames = torch.cat(list(Joined(probe_video(FACE)).batches(0, 6, 6)))
    assert frames.is_contiguous(memory_format=torch.channels_last)
    for i, matrix in enumerate(["bt601"] * 3 + ["bt709"] * 3):
        expected = nv12_to_rgb(kept[i].planes[None], matrix=matrix, full_range=i in (2, 3))  # type: ignore[arg-type]
        assert torch.equal(frames[i : i + 1], expected)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation: int, device: str) -> None:
    # NVDEC's smallest picture on any of its codecs is larger than most tests' clips.
    path = write_clip(tmp_path / "turned.mp4", n_frames=6, size=(192, 256), rotation=rotation)
    info = probe_video(path)
    ours, theirs = (frames_of(d, 0, 6).float() for d in (nvdec_on(device, info), PyavDecoder(info)))
    assert ours.shape == theirs.shape and (ours - theirs).abs().mean() < 2


def test_what_only_stands_as_high_as_hd_is_none(tmp_path: Path, device: str) -> None:
    """Untagged 480 lines are BT.601, turned upright or not; by BT.709's matrix red would be 15 levels off."""

    def red(_index: int, height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), (200, 40, 40), np.uint8)

    info = probe_video(write_clip(tmp_path / "a.mp4", n_frames=2, size=(480, 720), picture=red, rotation=90))
    assert info.height == 720
    ours, theirs = (frames_of(d, 0, 2).float() for d in (nvdec_on(device, info), PyavDecoder(info)))
    assert (ours - theirs).abs().max() <= 2  # rounding, and swscale's fast path, brightened


def test_no_driver_no_decoder() -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device here: it may open")
    with pytest.raises(DecoderUnavailableError, match="NVDEC through PyAV on cuda: .*"):
        NvdecDecoder(probe_video(FACE), torch.device("cuda", 0))


def test_what_is_not_nv12_is_left_to_others() -> None:
    """Ten bits, for instance: here the CPU's yuv420p stands for what is not NV12."""
    with pytest.raises(DecoderUnavailableError, match="512x512 yuv420p on the way"):
        NvdecDecoder(probe_video(FACE), torch.device("cpu"))


@pytest.mark.parametrize(
    "error", [av.MemoryError(12, "Cannot allocate memory"), av.ExternalError(-542398533, "Generic error")]
)
def test_what_fails_at_the_first_picture_is_left_to_others(error: av.FFmpegError) -> None:
    """A card that is full, most of all: other decoders are asked, instead of an end for want of memory."""

    class Failing(OnTheHost):
        def _kept(self, frame: Any) -> Any:
            raise error

    with pytest.raises(DecoderUnavailableError, match="NVDEC through PyAV on cpu: "):
        Failing(probe_video(FACE))


def test_a_clip_that_changes_its_size_goes_on_on_the_cpu(tmp_path: Path) -> None:
    info, notes = probe_video(write_clip_of_two_sizes(tmp_path / "a.mp4")), list[str]()
    frames = torch.cat(list(OnTheHost(info, notes.append).batches(0, 20, 4))).float()
    assert frames.shape == (20, 3, 96, 128)
    assert (frames - torch.cat(list(PyavDecoder(info).batches(0, 20, 20)))).abs().mean((1, 2, 3)).max() < 1.5
    reason = "it becomes 192x144 nv12 on the way, not 128x96 nv12"
    assert notes == [f"NVDEC stopped at frame 8 ({reason}): decoding the rest on the CPU"]


@pytest.mark.parametrize(
    "error",
    [
        av.ExternalError(-542398533, "Generic error in an external library"),
        av.MemoryError(12, "Cannot allocate memory"),
    ],
)
def test_where_nvdec_fails_on_the_way_the_cpu_goes_on(error: av.FFmpegError) -> None:
    """For want of memory beside PyTorch's, most of all. Nothing is lost or shown twice."""

    class Failing(OnTheHost):
        n_kept = 0

        def _kept(self, frame: Any) -> Any:
            self.n_kept += 1
            if self.n_kept == 7:
                raise error
            return super()._kept(frame)

    info, notes = probe_video(FACE), list[str]()
    frames = torch.cat(list(Failing(info, notes.append).batches(0, 12, 4))).float()
    expected = torch.cat(list(OnTheHost(info).batches(0, 12, 4))).float()
    assert len(frames) == 12 and torch.equal(frames[:4], expected[:4])
    assert (frames - expected).abs().mean((1, 2, 3)).max() < 0.8  # swscale's fast path, brightened
    assert notes == [f"NVDEC stopped at frame 4 ({error.strerror}): decoding the rest on the CPU"]


def test_what_refuses_a_later_pass_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short clip under a long sound is opened again for each pass; other runs may have taken the last session, or the
    memory, that beginning again gives back.
    """
    decoder = OnTheHost(probe_video(FACE))
    assert sum(len(batch) for batch in decoder.batches(0, 10, 4)) == 10

    def refused(*_: object) -> None:
        raise MediaError("cannot be read as media (Operation not permitted)")

    with monkeypatch.context() as patched:
        patched.setattr(PyavDecoder, "_opened", refused)
        for start in (0, 4):
            with pytest.raises(torch.OutOfMemoryError, match="NVDEC does not open.*again.*--decoder decord"):
                next(decoder.batches(start, 10, 4))
    assert sum(len(batch) for batch in decoder.batches(0, 10, 4)) == 10
