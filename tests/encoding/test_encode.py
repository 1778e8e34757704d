"""Written files, as ffprobe sees them; colours, sizes and failures."""

import errno
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from gpu_lipsync.config import EncodeConfig, FrameConfig
from gpu_lipsync.encoding.encoders import PyavBackend, X264Backend, _pictures_of_host, pictures_of_planes
from gpu_lipsync.encoding.writer import even_sided, open_writer
from gpu_lipsync.errors import EncodeError
from gpu_lipsync.media.colours import Colours
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.ops.yuv import rgb_to_nv12, rgb_to_yuv420
from gpu_lipsync.video import open_video
from tests.probe import ffprobe
from tests.talkers import sample_frame
from tests.writing import encode, pictures, shape_of, sound_of


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_streams_as_ffprobe_sees_them(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    shape = shape_of(96, 128, n_frames=50, fps=fps, rate=44100, channels=2)
    streams = ffprobe(encode(tmp_path / f"out{suffix}", shape, pictures(50, 96, 128)))
    video, audio = streams["video"], streams["audio"]
    assert (video["codec_name"], video["pix_fmt"]) == ("h264", "yuv420p")
    assert audio["codec_name"] == ("pcm_s16le" if suffix == ".avi" else "aac")
    assert (video["width"], video["height"], int(video["nb_read_frames"])) == (128, 96, 50)
    if suffix != ".mkv":  # matroska has no rate of its own, only milliseconds, and no count
        assert Fraction(video["r_frame_rate"]) == fps
        assert int(video["nb_frames"]) == 50  # in AVI, where frames that wait for later ones move all of them
    assert (audio["sample_rate"], audio["channels"]) == ("44100", 2)
    if suffix in (".mp4", ".mov"):
        assert {video[tag] for tag in ("color_space", "color_transfer", "color_primaries")} == {"bt709"}
        assert video["color_range"] == "tv"
        assert abs(float(video["duration"]) - float(audio["duration"])) < 1 / fps


@pytest.mark.parametrize(("rate", "channels", "written"), [(5512, 1, 8000), (24000, 2, 24000), (96000, 6, 48000)])
def test_any_sound_becomes_aac(tmp_path: Path, rate: int, channels: int, written: int) -> None:
    shape = shape_of(64, 64, rate=rate, channels=channels)
    path = encode(tmp_path / "out.mp4", shape, pictures(25, 64, 64))
    audio = ffprobe(path)["audio"]
    assert (int(audio["sample_rate"]), audio["channels"]) == (written, min(channels, 2))
    assert np.sqrt(np.square(read_sound(path).samples).mean()) > 0.2  # it is heard


@pytest.mark.parametrize("layout", ["stereo", "2.1", "quad", "5.1", "7.1", "9 channels", "16 channels", "FL+LFE"])
def test_many_channels_are_no_louder_than_each(tmp_path: Path, layout: str) -> None:
    """The same tone in all of them: in FFmpeg's own mix of floats it would be up to 3.8 times as loud."""
    n_channels = av.AudioLayout(layout).nb_channels
    sound = replace(sound_of(1.3, rate=48000, channels=n_channels), layout=layout)
    shape = replace(shape_of(64, 64), sound=sound)
    written = read_sound(encode(tmp_path / "out.mp4", shape, pictures(25, 64, 64))).samples
    assert written.shape[0] == 2
    loudest = np.abs(written[:, 9600:38400]).max()
    assert 0.4 * np.abs(sound.samples).max() < loudest < 1.05 * np.abs(sound.samples).max()  # AAC's own error


def test_lossless_says_who_does_not_play_it(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig(crf=0)) as out:
        assert ["phones do not play" in note for note in out.notes] == [True]


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (3024, 4032, True),  # a phone's picture
        (4096, 2304, False),  # just level 5.2
        (4096, 2305, True),  # a row more, which is a row of macroblocks more
        (4032, 3023, True),  # as written, of even sides
        (2160, 3840, False),
    ],
)
def test_frames_for_which_few_players_are_made(tmp_path: Path, width: int, height: int, told: bool) -> None:
    """Against the level that x264 itself writes into the file: 10 times that, in the fourth byte of avcC."""
    shape = shape_of(height, width, n_frames=1)
    with open_writer(tmp_path / "out.mp4", shape, EncodeConfig(preset="ultrafast")) as out:
        out.write(torch.zeros((1, 3, height, width), dtype=torch.uint8))
        out.finish()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].codec_context.extradata[3] >= 60) == told
    size = f"{width}x{height + height % 2}"
    note = (
        f"frames of {size} are more than most phones and hardware players take (H.264 level 6); --resize_factor 2 "
        "halves their sides"
    )
    assert out.notes == [note] * told


@pytest.mark.parametrize(("height", "width"), [(63, 64), (64, 63), (97, 131)])
def test_odd_sizes_are_padded_by_one_pixel(tmp_path: Path, height: int, width: int) -> None:
    frames = pictures(25, height, width)
    path = encode(tmp_path / "out.mp4", shape_of(height, width), frames, crf=8)
    with open_video(path, FrameConfig()) as video:
        assert video.size == (height + height % 2, width + width % 2)
        _, back = next(video.batches(range(8), 8))
    assert (back[:, :, :height, :width].float() - frames[:8].float()).abs().mean() < 1  # crf 8
    odd = (0, width % 2, 0, height % 2)
    repeated = torch.nn.functional.pad(frames.float(), odd, mode="replicate").to(torch.uint8)
    assert torch.equal(even_sided(frames), repeated), "by the last row and column once more"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_primaries_and_transfer_are_written_each_in_its_place(tmp_path: Path, suffix: str) -> None:
    shape = replace(shape_of(64, 64), colours=Colours("bt709", 1, 9, 14))
    video = ffprobe(encode(tmp_path / f"out{suffix}", shape, pictures(25, 64, 64)))["video"]
    tags = [video[f"color_{tag}"] for tag in ("space", "primaries", "transfer")]
    assert tags == ["bt709", "bt2020", "bt2020-10"]


@pytest.mark.parametrize("name", ["vretalk_4_woman_30fps.mp4", "latentsync_demo1_woman_seated_portrait.mp4"])
def test_untouched_pixels_keep_their_colour(media: Path, tmp_path: Path, name: str) -> None:
    # One clip untagged, one tagged BT.709: the two matrices that a source can have.
    with open_video(media / "video" / name, FrameConfig(resize_factor=1)) as video:
        (_, frames), *_ = video.batches(range(16), 16)
        shape = shape_of(*video.size, n_frames=16, fps=video.fps)
    path = encode(tmp_path / "out.mp4", shape, frames, crf=12)
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        _, back = next(video.batches(range(16), 16))
    difference = back[:, :, : frames.shape[2], : frames.shape[3]].float() - frames.float()
    # The bars of the issue: half a level of shift in any channel, 40 dB at crf 12.
    assert difference.mean((0, 2, 3)).abs().max() <= 0.5
    assert 10 * torch.log10(255**2 / difference.square().mean()) >= 40


@pytest.mark.parametrize("made", [sample_frame, lambda: pictures(1, 72, 102)], ids=["face", "smooth"])
def test_yuv420_matches_swscale(made: Callable[[], torch.Tensor], device: str) -> None:
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    frames = made()
    picture = av.VideoFrame.from_ndarray(frames[0].permute(1, 2, 0).contiguous().numpy(), format="rgb24")
    expected = picture.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
    ).to_ndarray()
    height = frames.shape[2]
    by_torch = rgb_to_yuv420(frames.to(device))[0].cpu().numpy()
    by_swscale = next(_pictures_of_host(frames)).to_ndarray()
    for ours in (by_torch, by_swscale):
        difference = ours.astype(int) - expected
        assert abs(difference[:height].mean()) < 0.1  # rounded, not cut off: that takes half
        assert abs(difference[height:].mean()) < 0.05  # of the smooth picture's chroma that takes 0.11
        assert np.abs(difference[:height]).max() <= 1  # rounding
        assert np.abs(difference[height:]).mean() < 0.5  # swscale averages chroma in fixed point, pairs first
        assert np.abs(difference[height:]).max() <= 3


@pytest.mark.parametrize("height", [72, 70])  # whole fours, and not
def test_planes_become_pictures_of_their_size(height: int) -> None:
    planes = rgb_to_yuv420(pictures(2, height, 102)).numpy()
    made = list(pictures_of_planes(planes))
    assert [(p.width, p.height, p.format.name) for p in made] == [(102, height, "yuv420p")] * 2
    assert all(np.array_equal(p.to_ndarray(), plane) for p, plane in zip(made, planes, strict=True))


def test_beside_a_gpu_several_frames_are_encoded_at_a_time_into_the_same_pictures(tmp_path: Path) -> None:
    """Where the network has other cores than the encoder; the file is as good, frame by frame."""
    frames, shape, config = pictures(30, 144, 160), shape_of(144, 160, n_frames=30), EncodeConfig(crf=12)
    psnr, kinds = {}, []
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.mp4"
        backend = X264Backend(path, shape, config, torch.device(device))
        kinds.append(backend._video.codec_context.thread_type.name)
        backend.write(frames)
        backend.finish()
        with open_video(path, FrameConfig(decoder="pyav")) as video:
            _, back = next(video.batches(range(30), 30))
        squares = (back.float() - frames.float()).square().mean((1, 2, 3))
        assert len(back) == 30
        psnr[device] = float((10 * torch.log10(255**2 / squares)).min())
    assert kinds == ["SLICE", "FRAME"]
    assert psnr["cuda"] > psnr["cpu"] - 0.5 > 40  # x264 chooses a little otherwise


def test_nv12_is_yuv420_in_another_order(device: str) -> None:
    frames = pictures(3, 70, 102).to(device)
    place = torch.full((3, 105, 256), 7, dtype=torch.uint8, device=device)
    planar, nv12 = rgb_to_yuv420(frames), rgb_to_nv12(frames, out=place)
    assert nv12 is place and (place[:, :, 102:] == 7).all()
    assert torch.equal(nv12[:, :, :102], rgb_to_nv12(frames))
    assert torch.equal(nv12[:, :70, :102], planar[:, :70])
    blue, red = planar[:, 70:].reshape(3, 2, 35, 51).unbind(1)
    assert torch.equal(nv12[:, 70:, :102:2], blue) and torch.equal(nv12[:, 70:, 1:102:2], red)


@pytest.mark.parametrize("convert", [rgb_to_yuv420, rgb_to_nv12])
def test_what_cannot_become_420(convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="65x64"):
        convert(torch.zeros(1, 3, 64, 65, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(1, 1, 64, 64\)"):
        convert(torch.zeros(1, 1, 64, 64, dtype=torch.uint8))
    with pytest.raises(TypeError, match="float32"):
        convert(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (torch.empty(1, 96, 64), TypeError),
        (torch.empty(2, 96, 64, dtype=torch.uint8), ValueError),
        (torch.empty(1, 97, 64, dtype=torch.uint8), ValueError),
        (torch.empty(1, 96, 63, dtype=torch.uint8), ValueError),
        (torch.empty(96, 64, dtype=torch.uint8), ValueError),
    ],
)
def test_where_nv12_does_not_fit(out: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"out must be"):
        rgb_to_nv12(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), out=out)


def test_leaving_without_finish_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "out.mp4"
    with pytest.raises(KeyboardInterrupt), open_writer(target, shape_of(64, 64), EncodeConfig()) as out:
        out.write(pictures(8, 64, 64))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_encode_error_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"an earlier result")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PyavBackend, "write", full)
    with (
        pytest.raises(EncodeError, match="No space left on device"),
        open_writer(target, shape_of(64, 64), EncodeConfig()) as out,
    ):
        for _ in range(100):
            out.write(pictures(8, 64, 64))
    assert target.read_bytes() == b"an earlier result"
    assert list(tmp_path.iterdir()) == [target]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for target in (tmp_path / "file" / "out.mp4", tmp_path / "folder.mp4"):
        with pytest.raises(EncodeError, match=str(target.name if target.is_dir() else "file")):
            open_writer(target, shape_of(64, 64), EncodeConfig())


def test_the_result_is_an_ordinary_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    path = encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(25, 64, 64))
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".mp4", "嘴" * 83 + ".mp4"):
        encode(tmp_path / name, shape_of(64, 64), pictures(4, 64, 64))
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(tmp_path: Path, there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.mp4", tmp_path / "link.mp4"
    if there:
        real.write_bytes(b"old")
    link.symlink_to(real)
    encode(link, shape_of(64, 64), pictures(4, 64, 64))
    assert link.is_symlink() and len(real.read_bytes()) > 100
    assert [path.name for path in real.parent.iterdir()] == ["real.mp4"]


def test_what_is_written_through_a_link_is_as_the_link_is_called(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(tmp_path / "blob.tmp")
    encode(tmp_path / "link.mp4", shape_of(64, 64), pictures(25, 64, 64))
    with av.open(str(tmp_path / "blob.tmp")) as container:
        assert "mp4" in container.format.name


def test_the_file_is_in_its_place_only_after_settling(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.mp4", []
    with open_writer(path, shape_of(64, 64), EncodeConfig()) as out:
        out.write(pictures(4, 64, 64))
        out.finish(lambda: seen.append(path.exists()))
    assert seen == [False] and path.exists()
