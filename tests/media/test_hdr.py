"""HDR clips, as phones film them by default, become SDR; FFmpeg's own colour management is the reference."""

from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.decoders import DecoderUnavailableError
from gpu_lipsync.decoding.frame_layout import RGB, Yuv420Frames
from gpu_lipsync.decoding.nvdec import NvdecDecoder
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.media.colours import BT709, HdrCurve
from gpu_lipsync.media.hdr import SdrConversion, to_sdr
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import tone, write_sound
from tests.places import FACE
from tests.probe import ffprobe

CURVES = get_args(HdrCurve)
NUMBERS: dict[HdrCurve, ColorTrc] = {"PQ": ColorTrc.SMPTE2084, "HLG": ColorTrc.ARIB_STD_B67}
N_FRAMES = 6


def as_hdr(
    frame: Any, curve: HdrCurve, scaler: VideoReformatter, primaries: ColorPrimaries = ColorPrimaries.BT2020
) -> Any:
    """An av.VideoFrame of BT.709 as 10 bits of HDR, by FFmpeg: its white at 203 cd/m2."""
    frame.color_trc, frame.color_primaries, frame.color_range = ColorTrc.BT709, ColorPrimaries.BT709, ColorRange.MPEG
    return scaler.reformat(
        frame,
        format="yuv420p10le",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.BT2020,
        dst_color_range=ColorRange.MPEG,
        dst_color_trc=NUMBERS[curve],
        dst_color_primaries=primaries,
    )


def of_sample() -> list[Any]:
    with av.open(str(FACE)) as container:
        return [frame for frame, _ in zip(container.decode(video=0), range(N_FRAMES), strict=False)]


@pytest.fixture(scope="module", params=CURVES)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HdrCurve]:
    """The sample's first frames as HDR, hardly compressed."""
    curve: HdrCurve = request.param
    path, scaler = tmp_path_factory.mktemp("hdr") / f"{curve}.mp4", VideoReformatter()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        frames = [as_hdr(frame, curve, scaler) for frame in of_sample()]
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p10le"
        stream.options = {"crf": "4", "preset": "veryfast"}
        coded: Any = stream.codec_context
        coded.color_trc, coded.color_primaries = NUMBERS[curve], ColorPrimaries.BT2020
        coded.colorspace, coded.color_range = 9, ColorRange.MPEG
        for i, frame in enumerate(frames):
            frame.pts, frame.time_base = i, 1 / stream.codec_context.framerate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path, curve


PATCHES = np.random.default_rng(0).uniform(0.08, 0.68, (256, 3))  # of BT.709, the white of the others being 1


@lru_cache  # FFmpeg's scaler takes seconds to make its table
def coded_patches(curve: HdrCurve, primaries: ColorPrimaries) -> Any:
    """PATCHES as 16x16 squares of an HDR frame, by FFmpeg."""
    square = np.round(PATCHES * 255).astype(np.uint8).reshape(8, -1, 3).repeat(16, axis=0).repeat(16, axis=1)
    scaler = VideoReformatter()
    sdr = scaler.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(square), format="rgb24"),
        format="yuv444p10le",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
    return as_hdr(sdr, curve, VideoReformatter(), primaries)


@pytest.mark.parametrize(
    ("curve", "primaries"),
    [
        *((curve, ColorPrimaries.BT2020) for curve in CURVES),
        ("HLG", ColorPrimaries.SMPTE432),
        ("PQ", ColorPrimaries.BT709),
    ],
)
def test_what_is_not_bright_is_what_ffmpeg_made_hdr_of(curve: HdrCurve, primaries: ColorPrimaries) -> None:
    """Random colours, within 1 level in the mean (0.3 to 0.6 seen); taken for other primaries they would be 10 off."""
    frame = coded_patches(curve, primaries)
    back = SdrConversion(curve)(frame, "rgb24", width=frame.width, height=frame.height).to_ndarray()[8::16, 8::16]
    off = np.abs(back.reshape(-1, 3) - PATCHES * 255)
    assert off.mean() < 1


@pytest.mark.parametrize("curve", CURVES)
def test_the_table_is_as_good_as_the_formulas(curve: HdrCurve) -> None:
    """0.5 and 0.6 levels in the mean of random colours."""
    frame = coded_patches(curve, ColorPrimaries.BT2020)
    shown = SdrConversion(curve)(frame, "rgb24", width=frame.width, height=frame.height).to_ndarray()[8::16, 8::16]
    signal = frame.reformat(format="rgb48le", src_colorspace=Colorspace.BT2020).to_ndarray()[8::16, 8::16] / 65535
    assert np.abs(shown - to_sdr(signal, curve, primaries=9) * 255).mean() < 0.8


@pytest.mark.parametrize("full_range", [False, True])
def test_what_is_not_said_is_what_hdr_is(full_range: bool) -> None:
    """The matrix of BT.2020, and the range as it is tagged; of rounding half a level in the mean is left."""
    frame = coded_patches("HLG", ColorPrimaries.BT2020)
    size = {"width": frame.width, "height": frame.height}
    expected = SdrConversion("HLG")(frame, "rgb24", **size).to_ndarray().astype(float)
    if full_range:
        frame = frame.reformat(format="yuv420p10le", dst_color_range=ColorRange.JPEG)
    said, frame.colorspace = frame.colorspace, 2
    try:
        shown = SdrConversion("HLG")(frame, "rgb24", **size).to_ndarray()
    finally:
        frame.colorspace = said  # the frame is kept for other tests
    assert np.abs(shown - expected).mean() < 0.5


@pytest.mark.parametrize("change", ["range", "matrix", "primaries"])
def test_what_the_numbers_mean_is_asked_of_each_picture(change: str) -> None:
    """Joined recordings change it on the way; BT.709's matrix some encoders keep for HDR. Within 1 level as above."""
    frame, convert = coded_patches("HLG", ColorPrimaries.BT2020), SdrConversion("HLG")
    if change == "primaries":
        other = coded_patches("HLG", ColorPrimaries.SMPTE432)
    elif change == "range":
        other = frame.reformat(format="yuv420p10le", dst_color_range=ColorRange.JPEG)
    else:
        matrices = {"src_colorspace": Colorspace.BT2020, "dst_colorspace": Colorspace.ITU709}
        other = frame.reformat(format="yuv420p10le", **matrices)
        other.colorspace = 1  # as a stream is tagged; the scaler has numbers of its own
    for picture in (frame, other):
        shown = convert(picture, "rgb24", width=frame.width, height=frame.height).to_ndarray()[8::16, 8::16]
        assert np.abs(shown.reshape(-1, 3) - PATCHES * 255).mean() < 1


def test_greys_are_where_the_recommendations_have_them() -> None:
    """By hand. Of 203 cd/m2 (BT.2408) 50.7 is a quarter, in HLG (BT.2100) 0.5 and in PQ (ST 2084) 0.4403; BT.2390's
    spline takes the 203, 0.75 and 0.5807, to 230 and 1000 to white.
    """
    signals: dict[HdrCurve, list[float]] = {"HLG": [0.0, 0.5, 0.75, 1.0], "PQ": [0.0, 0.4403, 0.5807, 0.7518]}
    for curve, signal in signals.items():
        sdr = to_sdr(np.array(signal)[:, None].repeat(3, 1), curve, primaries=9) * 255
        assert np.ptp(sdr, axis=1).max() < 0.5  # BT.2020's white is BT.709's
        assert sdr[:, 0] == pytest.approx([0, 143, 230, 255], abs=1)
    ramp = to_sdr(np.linspace(0, 1, 400)[:, None].repeat(3, 1), "PQ", primaries=9)[:, 0]
    assert (np.diff(ramp) >= 0).all()


def test_clips_are_shown_as_before_they_were_hdr(clip: tuple[Path, HdrCurve]) -> None:
    path, curve = clip
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    pictures = [frame.reformat(format="rgb24", interpolation=exact).to_ndarray() for frame in of_sample()]
    expected = np.stack(pictures).astype(float)
    dim = expected.max(axis=-1) < 175  # what is brighter is rolled off
    with open_video(path, FrameConfig()) as video:
        _, frames = next(video.batches(range(N_FRAMES), N_FRAMES))
        assert f"{path.name} is HDR ({curve}); the result is SDR (BT.709)" in video.notes
        assert video.layout is RGB and video.colours == BT709
    off = frames.permute(0, 2, 3, 1).numpy() - expected
    assert dim.mean() > 0.3
    # Of coding; before that it is 0.6. Not converted, PQ would be 12 levels off and HLG 8.
    assert np.abs(off[dim]).mean() < 1.5 and np.abs(off[dim].mean(axis=0)).max() < 0.5


def test_their_frames_stay_420_and_come_again_as_they_were(clip: tuple[Path, HdrCurve]) -> None:
    path, _ = clip
    with open_video(path, FrameConfig(), as_decoded=True) as video:
        assert isinstance(video.layout, Yuv420Frames) and video.layout.matrix == "bt709" and video.colours == BT709
        first, again = (torch.cat([b for _, b in video.batches(range(N_FRAMES), 4)]) for _ in range(2))
        (_, middle), *_ = video.batches(range(3, 5), 2)
        shown = video.layout.reduced(first, video.size).permute(0, 2, 3, 1).float()
    assert torch.equal(first, again) and torch.equal(middle, first[3:5])
    with open_video(path, FrameConfig()) as video:
        _, rgb = next(video.batches(range(N_FRAMES), N_FRAMES))
    # The same table; chroma of four pixels each on one side.
    assert (shown - rgb.permute(0, 2, 3, 1)).abs().mean() < 1.5


def test_the_result_says_that_it_is_sdr(clip: tuple[Path, HdrCurve], checkpoint: Path, tmp_path: Path) -> None:
    speech = write_sound(tmp_path / "a.wav", tone(0.3))
    out = tmp_path / "out.mp4"
    run(LipSyncConfig(checkpoint_path=checkpoint, face=clip[0], audio=speech, outfile=out, device="cpu"))
    facts = ffprobe(out)["video"]
    assert [facts[key] for key in ("pix_fmt", "color_space", "color_transfer", "color_primaries")] == [
        "yuv420p",
        "bt709",
        "bt709",
        "bt709",
    ]


@pytest.mark.parametrize("decoder", ["decord", "torchcodec"])
def test_decoders_that_would_leave_it_flat_are_refused(clip: tuple[Path, HdrCurve], decoder: str) -> None:
    pytest.importorskip(decoder)
    with pytest.raises(ConfigError, match=rf"{decoder} does not convert HDR \({clip[1]}\).*use --decoder auto"):
        open_video(clip[0], FrameConfig(decoder=decoder))  # type: ignore[arg-type]


def test_nvdec_leaves_it_to_the_cpu(clip: tuple[Path, HdrCurve]) -> None:
    with pytest.raises(DecoderUnavailableError, match="NVDEC does not convert HDR"):
        NvdecDecoder(probe_video(clip[0]), torch.device("cpu"))


def test_pictures_of_another_size_or_format_on_the_way_become_like_the_first() -> None:
    convert = SdrConversion("HLG")
    frame, shown = as_hdr(of_sample()[0], "HLG", VideoReformatter()), []
    for change in ({}, {"width": 320, "height": 240}, {"format": "yuv444p10le"}, {"format": "yuv420p12le"}):
        changed = frame.reformat(**change)
        changed.pts = 77
        shown.append(convert(changed, "yuv420p", width=256, height=256).to_ndarray()[:256].astype(float))
        assert changed.pts == 77
    for other in shown[1:]:
        assert np.abs(other - shown[0]).mean() < 2 and abs(other.mean() - shown[0].mean()) < 0.5
