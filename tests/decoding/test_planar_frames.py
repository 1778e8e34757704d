"""Frames that stay 4:2:0 from the decoder to the encoder: which do, and that what is not the mouth stays the source."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding import frame_layout
from gpu_lipsync.decoding.frame_layout import RGB, Yuv420Frames
from gpu_lipsync.decoding.planar_decoder import PlanarDecoder
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.media.colours import BT709, Colours, plain_colours
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.models import load_face_detector
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.tracked_frames import tracked_frames
from gpu_lipsync.video import open_video
from tests.clips import tone, write_clip, write_clip_of_two_sizes, write_sound
from tests.places import FACE
from tests.probe import ffprobe

ITU601, ITU709 = Colorspace.ITU601, Colorspace.ITU709
MATRIX_TAGS = {"bt601": "smpte170m", "bt709": "bt709"}  # as libx264 names them


def planes_of(path: Path) -> np.ndarray:
    """(n, H * 3 // 2, W) uint8 of a clip, as PyAV reads it."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)])


def test_frames_are_the_codecs_own() -> None:
    expected = torch.from_numpy(planes_of(FACE))
    with open_video(FACE, FrameConfig(), as_decoded=True) as video:
        assert isinstance(video.layout, Yuv420Frames) and video.layout.matrix == "bt709"
        assert video.size == (expected.shape[1] * 2 // 3, expected.shape[2])
        parts = [*video.batches(range(40), 16), *video.batches(range(100, 103), 2)]
    assert [(frames.start, frames.stop) for frames, _ in parts] == [(0, 16), (16, 32), (32, 40), (100, 102), (102, 103)]
    for frames, batch in parts:
        assert torch.equal(batch, expected[frames.start : frames.stop])


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.avi", {"options": {"bf": "1"}}),
        ("a.avi", {"options": {"bf": "8", "preset": "slow"}}),
        ("a.avi", {"options": {"bf": "3", "x264-params": "b-pyramid=none"}}),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("a.mkv", {"options": {"bf": "8", "g": "10"}}),
        ("a.mpg", {"codec": "mpeg1video", "options": {"bf": "2", "b": "4M"}}),
        ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
        ("a.webm", {"codec": "libvpx-vp9"}),
    ],
    ids=str,
)
def test_every_frame_comes_once_and_in_its_place(tmp_path: Path, name: str, made: dict[str, object]) -> None:
    path = write_clip(tmp_path / name, n_frames=60, **made)  # type: ignore[arg-type]
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        assert isinstance(video.layout, Yuv420Frames)
        frames = torch.cat([batch for _, batch in video.batches(range(video.n_frames), 16)])
        (_, middle), *_ = video.batches(range(30, 32), 2)
    assert torch.equal(frames, torch.from_numpy(planes_of(path))) and len(frames) == 60
    assert torch.equal(middle, frames[30:32])
    assert not video.notes


@pytest.mark.parametrize(
    "config",
    [
        FrameConfig(resize_factor=2),
        FrameConfig(rotate=True),
        FrameConfig(crop=(0, -1, 2, -1)),
        FrameConfig(decoder="decord"),
    ],
)
def test_frames_that_are_worked_on_or_another_decoders_are_rgb(config: FrameConfig) -> None:
    with open_video(FACE, config, as_decoded=True) as video:
        _, frames = next(video.batches(range(1), 1))
    assert video.layout is RGB and frames.shape == (1, 3, *video.size)
    with open_video(FACE, FrameConfig()) as video:  # nobody asked
        assert video.layout is RGB


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.mp4", {"size": (96, 127), "pix_fmt": "yuv444p"}),
        ("a.mp4", {"pix_fmt": "yuv444p"}),
        ("a.webm", {"size": (97, 128), "codec": "libvpx-vp9"}),
        ("a.webm", {"size": (96, 127), "codec": "libvpx-vp9"}),
        ("a.mp4", {"pix_fmt": "yuvj420p"}),  # full range
        ("a.mp4", {"options": {"x264-params": "fullrange=on"}}),
        ("a.mp4", {"options": {"x264-params": "colormatrix=bt2020nc"}}),
        ("a.mkv", {"pix_fmt": "yuv422p10le"}),
        ("a.webm", {"size": (97, 128), "codec": "libvpx-vp9", "options": {"color_trc": "arib-std-b67"}}),  # HLG
    ],
)
def test_what_has_to_be_converted_is_rgb(tmp_path: Path, name: str, made: dict[str, object]) -> None:
    with open_video(write_clip(tmp_path / name, **made), FrameConfig(), as_decoded=True) as video:  # type: ignore[arg-type]
        _, frames = next(video.batches(range(1), 1))
    assert video.layout is RGB and video.colours == BT709
    assert frames.shape[1] == 3


@pytest.mark.parametrize(
    ("tag", "matrix", "written"),
    [
        ("undef", "bt601", "unknown"),
        ("smpte170m", "bt601", "smpte170m"),
        ("bt470bg", "bt601", "bt470bg"),
        ("bt709", "bt709", "bt709"),
    ],
)
def test_the_output_says_what_its_numbers_mean(
    checkpoint: Path, tmp_path: Path, tag: str, matrix: str, written: str
) -> None:
    face = write_clip(tmp_path / "a.mp4", options={"x264-params": f"colormatrix={tag}"})
    with open_video(face, FrameConfig(), as_decoded=True) as video:
        assert isinstance(video.layout, Yuv420Frames) and video.layout.matrix == matrix
    out = synced(checkpoint, tmp_path, face, seconds=0.5, box=(10, 80, 20, 100))
    facts = ffprobe(out)["video"]
    assert (facts.get("color_space", "unknown"), facts.get("color_range", "tv")) == (written, "tv")


def test_frames_that_change_on_the_way_become_like_the_first(tmp_path: Path) -> None:
    path = write_clip_of_two_sizes(tmp_path / "a.mp4")
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        (_, frames), *_ = video.batches(range(20), 20)
    assert isinstance(video.layout, Yuv420Frames) and video.layout.size(frames) == (96, 128)
    luma = frames[:, :96].float().mean((1, 2))
    assert (luma.diff() > 2).all()  # brightness goes on: nothing of another size's rows


@pytest.mark.parametrize("first", ["bt709", "bt601"])
@pytest.mark.parametrize("later", [("yuv444p", ITU601), ("yuv420p", ITU601), ("yuv420p", ITU709), ("yuv444p", ITU709)])
@pytest.mark.parametrize("spread", [ColorRange.MPEG, ColorRange.JPEG])
def test_colours_that_are_coded_otherwise_later_on_stay_what_they_are(
    tmp_path: Path, first: str, later: tuple[str, int], spread: ColorRange
) -> None:
    clip = write_clip(tmp_path / "a.mp4", size=(100, 120), options={"x264-params": f"colormatrix={MATRIX_TAGS[first]}"})
    decoder = PlanarDecoder(probe_video(clip))
    picture = av.VideoFrame.from_ndarray(np.full((100, 120, 3), (200, 40, 90), np.uint8), format="rgb24")
    exact = Interpolation.ACCURATE_RND
    other = picture.reformat(format=later[0], dst_colorspace=later[1], dst_color_range=spread, interpolation=exact)
    other.color_range = spread
    other.colorspace = 1 if later[1] == ITU709 else 6  # as a stream is tagged; the scaler has numbers of its own
    batch = decoder._batch([decoder._kept(other)])
    rgb = Yuv420Frames(first).part(batch, torch.tensor([[0, 0, 120, 100]])).rgb.float().mean((0, 2, 3))  # type: ignore[arg-type]
    # Rounding; the other matrix is 20 off, and the other range 11.
    assert (rgb - torch.tensor([200.0, 40.0, 90.0])).abs().max() <= 2


@pytest.mark.parametrize("later", [(1080, 1920), (480, 640)])
def test_untagged_hd_keeps_its_numbers_when_its_size_changes(tmp_path: Path, later: tuple[int, int]) -> None:
    """Browsers take it for BT.709, swscale for BT.601: skin became greener from the change on."""
    decoder = PlanarDecoder(probe_video(write_clip(tmp_path / "a.mp4", n_frames=2, size=(720, 1280))))
    assert decoder.colours.matrix == "bt709"
    height, width = later
    planes = np.full((height * 3 // 2, width), 110, np.uint8)
    planes[height : height * 5 // 4], planes[height * 5 // 4 :] = 105, 155
    (kept,) = decoder._batch([decoder._kept(av.VideoFrame.from_ndarray(planes, format="yuv420p"))])
    for part, level in ((kept[:720], 110), (kept[720:900], 105), (kept[900:], 155)):
        assert (part.int() - level).abs().max() <= 1  # of a conversion there and back, if any


def synced(checkpoint: Path, folder: Path, face: Path, *, seconds: float, **flags: object) -> Path:
    sound = write_sound(folder / "a.wav", tone(seconds))
    config = LipSyncConfig(
        checkpoint_path=checkpoint,
        face=face,
        audio=sound,
        outfile=folder / "out.mp4",
        device="cpu",
        **flags,  # type: ignore[arg-type]
    )
    report = run(config)
    assert report.n_frames_without_face == 0
    return folder / "out.mp4"


@pytest.mark.parametrize("method", ["ellipse", "multiscale", "original"])
def test_outside_the_box_the_coded_numbers_are_the_sources(checkpoint: Path, tmp_path: Path, method: str) -> None:
    """Without loss (crf 0), as the encoder got them; with sound for one and a half clips."""
    face = write_clip(tmp_path / "a.mp4", n_frames=20, size=(198, 242), picture=noise)  # planes of odd sides
    out = synced(checkpoint, tmp_path, face, seconds=1.2, box=(31, 151, 43, 164), crf=0, blend_method=method)
    source, result = planes_of(face), planes_of(out)
    n = len(result)
    assert n > len(source)
    shown = source[np.arange(n) % len(source)]
    differs = torch.from_numpy(shown != result)
    luma, chroma = differs[:, :198], differs[:, 198:].reshape(n, 2, 99, 121)
    inside = torch.zeros(198, 242, dtype=torch.bool)
    inside[31:151, 43:164] = True
    assert luma.any(2).any(1).all()  # every frame has a mouth of its own
    assert not luma[:, ~inside].any()
    assert not chroma[:, :, ~torch.nn.functional.max_pool2d(inside[None].float(), 2)[0].bool()].any()


def noise(index: int, height: int, width: int) -> np.ndarray:
    """What no conversion there and back would leave as it is."""
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_mouths_are_those_of_rgb_frames(checkpoint: Path, tmp_path: Path) -> None:
    """Decord's RGB and the codec's own planes, with the same box: the same picture, but for chroma's way."""
    folders = {decoder: tmp_path / decoder for decoder in ("decord", "auto")}
    seen = {}
    for decoder, folder in folders.items():
        folder.mkdir()
        box = (150, 400, 150, 370)
        out = synced(checkpoint, folder, FACE, seconds=0.6, box=box, crf=4, decoder=decoder)
        seen[decoder] = planes_of(out).astype(float)
    apart = np.abs(seen["decord"] - seen["auto"])
    luma, chroma = apart[:, :512], apart[:, 512:]
    # decord's RGB is truncated, then brightened by a whole level; each way is coded at crf 4.
    assert luma.mean() < 1.0 and chroma.mean() < 0.6
    assert luma[:, 250:400, 180:340].mean() < 1.2


def test_boxes_are_those_of_rgb_frames() -> None:
    detector, boxes = load_face_detector("cpu"), []
    for as_decoded in (False, True):
        with open_video(FACE, FrameConfig(decoder="pyav"), as_decoded=as_decoded) as video:
            tracker = FaceTracker(detector, FaceConfig(), fps=25.0, layout=video.layout)
            for _, frames in video.batches(range(40), 16):
                tracker.push(frames)
            tracker.finish()
            boxes.append(tracker.heads(0, 40).boxes)
    assert (boxes[0][:, 2:] > boxes[0][:, :2]).all()
    # Reduced before they become RGB instead of after, by other ways of rounding: whole pixels of a 512 px frame.
    assert (boxes[0] - boxes[1]).abs().max() <= 2


def test_where_memory_runs_out_frames_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is done again, smaller: what had its new mouth already would get a second one on top of it."""
    frames = torch.randint(0, 256, (4, 96, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before, boxes = frames.clone(), torch.tensor([[10, 8, 50, 48]] * 4)
    part = Yuv420Frames("bt709").part(frames, boxes)
    compute, calls = frame_layout.bits_changed, iter([True, False])

    def short_of_memory(*args: object, **kwargs: object) -> object:
        if not next(calls, True):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return compute(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(frame_layout, "bits_changed", short_of_memory)
        with pytest.raises(RuntimeError, match="allocate"):
            part.replaced(255 - part.rgb, boxes)
    assert torch.equal(frames, before)
    assert not torch.equal(part.replaced(255 - part.rgb, boxes), before)


def test_a_face_beyond_the_edge_changes_nothing() -> None:
    """A box that is kept within the frame has no rows or columns left then."""
    frames = torch.randint(0, 256, (2, 96, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = frames.clone()
    part = Yuv420Frames("bt709").part(frames, torch.tensor([[10, 8, 50, 48]] * 2))
    for nothing in ([20, 20, 20, 20], [20, 20, 20, 40], [20, 20, 40, 20]):
        assert torch.equal(part.replaced(255 - part.rgb, torch.tensor([nothing] * 2)), before)


def test_a_frame_shown_twice_is_changed_once(tmp_path: Path) -> None:
    """What is yielded is the caller's to change: the next that shows the same source has it as it was."""
    path = write_clip(tmp_path / "a.mkv", n_frames=8, pts=[0, 40, 80, 120, 240, 400, 440, 480])  # 3 stays
    expected = torch.from_numpy(planes_of(path))
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        timeline = video.timeline(14)
        tracker = FaceTracker(None, FaceConfig(box=(0, 64, 0, 64)), layout=video.layout)
        report = SimpleNamespace(batch_size=4, timed=lambda _: torch.no_grad(), n_source_frames=0)
        got: list[Tensor] = []
        for _, frames, *_ in tracked_frames(video, timeline, tracker, report):  # type: ignore[arg-type]
            got.append(frames.clone())
            frames.zero_()
    assert len(set(timeline.source)) < len(timeline.source) == 14
    assert torch.equal(torch.cat(got), expected[list(timeline.source)])


def test_colours_of_frames_in_words() -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((96, 64), np.uint8), format="yuv420p")
    picture.colorspace = 7  # SMPTE 240M, which nothing here converts
    assert plain_colours(picture) is None
    picture.colorspace, picture.color_range = 1, 1
    picture.color_primaries, picture.color_trc = 12, 13  # P3 with sRGB's curve, as phones have it
    assert plain_colours(picture) == Colours("bt709", 1, 12, 13)
    for curve in (16, 18):  # PQ and HLG, which some encoders write beside BT.709's matrix
        picture.color_trc = curve
        assert plain_colours(picture) is None
    picture.color_trc, picture.color_range = 13, 2  # as VP9 may have it: H.264's is another format
    assert plain_colours(picture) is None
