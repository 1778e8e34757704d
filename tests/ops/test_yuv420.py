"""Parts of 4:2:0 pictures as RGB and back, against swscale."""

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.yuv420 import bits_changed, picture_size, read_rgb, reduced_rgb, sampled_rgb, turn_over
from gpu_lipsync.ops.yuv_matrix import YuvMatrix, chroma_shares, luma_row
from tests.pictures import sample_planes

SPACES: dict[YuvMatrix, Colorspace] = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}
matrices = pytest.mark.parametrize("matrix", SPACES)
windows = pytest.mark.parametrize("window", [(0, 590, 0, 590), (100, 232, 46, 348), (588, 590, 0, 2)])


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return sample_planes(3)


def write_rgb(pictures: Tensor, window: Window, before: Tensor, after: Tensor, *, matrix: YuvMatrix) -> None:
    turn_over(bits_changed(pictures, window, before, after, matrix=matrix))


def part(pictures: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Luma and chroma of a window, cut out the obvious way."""
    height, width = pictures.shape[1] * 2 // 3, pictures.shape[2]
    chroma = pictures[:, height:].reshape(len(pictures), 2, height // 2, width // 2)
    y1, y2, x1, x2 = window
    return pictures[:, y1:y2, x1:x2], chroma[:, :, y1 // 2 : y2 // 2, x1 // 2 : x2 // 2]


def shared_chroma(planes: np.ndarray, size: tuple[int, int]) -> av.VideoFrame:
    """The picture in 4:4:4, four pixels with the same chroma: so that swscale has none to invent."""
    height, width = size
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, 1).repeat(2, 2)
    return av.VideoFrame.from_ndarray(np.concatenate([planes[None, :height], chroma]), format="yuv444p")


@matrices
@windows
def test_rgb_is_swscales(pictures: Tensor, window: Window, matrix: YuvMatrix, device: str) -> None:
    ours = read_rgb(pictures.to(device), window, matrix=matrix)
    assert ours.is_contiguous(memory_format=torch.channels_last) and ours.dtype == torch.uint8
    y1, y2, x1, x2 = window
    for picture, planes in zip(ours.cpu(), pictures.numpy(), strict=True):
        theirs = shared_chroma(planes, picture_size(pictures)).reformat(
            format="rgb24",
            src_colorspace=SPACES[matrix],
            src_color_range=ColorRange.MPEG,
            interpolation=Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        )
        off = picture.numpy() - theirs.to_ndarray()[y1:y2, x1:x2].transpose(2, 0, 1).astype(int)
        # Both round, from a fraction of 5 bits here and from swscale's own: neither lightens by more than half of one.
        assert np.abs(off).max() <= 1 and np.abs(off).mean() <= 0.1 and (off.size < 99 or abs(off.mean()) <= 1 / 64)


@matrices
def test_planes_are_swscales_of_new_rgb(pictures: Tensor, matrix: YuvMatrix, device: str) -> None:
    window = (100, 232, 46, 348)
    changed, rgb = pictures.to(device, copy=True), read_rgb(pictures.to(device), window, matrix=matrix)
    new = rgb.flip(3)
    write_rgb(changed, window, 255 - new, new, matrix=matrix)  # all of it differs
    for planes, picture in zip(changed.cpu(), new.cpu(), strict=True):
        theirs = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).contiguous().numpy(), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=SPACES[matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
        )
        expected = part(torch.from_numpy(theirs.to_ndarray())[None], (0, 132, 0, 302))
        ours = part(planes[None], window)
        apart = [np.abs(a.numpy().astype(int) - b.numpy()) for a, b in zip(ours, expected, strict=True)]
        assert apart[0].max() <= 1  # rounding
        # Four equal pixels make each sample here, so that the way of averaging does not matter.
        assert apart[1].max() <= 1


@matrices
@windows
def test_a_trip_through_rgb_brings_planes_back(
    pictures: Tensor, window: Window, matrix: YuvMatrix, device: str
) -> None:
    given = pictures.to(device)
    rgb = read_rgb(given, window, matrix=matrix)
    back = given.clone()
    luma, chroma = part(back, window)
    luma.fill_(77)
    chroma.fill_(99)
    write_rgb(back, window, 255 - rgb, rgb, matrix=matrix)
    apart = (back.int() - given.int()).abs()
    # RGB has fewer colours than planes have numbers: out of its range they are clipped, which this clip hardly is.
    assert (apart <= 1).float().mean() > 0.999
    assert apart.float().mean() < 0.02


@pytest.mark.parametrize("colour", [0, 1, 2])
@pytest.mark.parametrize(("y", "x"), [(30, 40), (30, 41), (31, 40), (31, 41)])  # each pixel of a chroma sample
def test_only_what_changed_changes(pictures: Tensor, device: str, y: int, x: int, colour: int) -> None:
    window = (100, 232, 46, 348)
    given = pictures.to(device)
    rgb = read_rgb(given, window, matrix="bt709")
    written = given.clone()
    write_rgb(written, window, rgb, rgb.clone(), matrix="bt709")
    assert torch.equal(written, given)

    new = rgb.clone()
    new[1, colour, y, x] ^= 128  # of one pixel of one picture
    write_rgb(written, window, rgb, new, matrix="bt709")
    differs = (written != given).nonzero().tolist()
    height, width = picture_size(given)
    row, column = 100 + y, 46 + x
    samples = [
        divmod(height * width + plane * height * width // 4 + row // 2 * (width // 2) + column // 2, width)
        for plane in (0, 1)
    ]
    assert differs == [[1, row, column], *([1, *sample] for sample in samples)]


@pytest.mark.parametrize(("step_y", "step_x"), [(1, 1), (2, 6), (3, 7)])
def test_samples_are_the_whole_pictures_pixels(pictures: Tensor, step_y: int, step_x: int, device: str) -> None:
    given = pictures.to(device)
    whole = read_rgb(given, (0, 590, 0, 590), matrix="bt601")
    assert torch.equal(sampled_rgb(given, step_y, step_x, matrix="bt601"), whole[:, :, ::step_y, ::step_x])


@pytest.mark.parametrize("n", [1, 2, 3])  # two planes of chroma, or four at a time
def test_reduced_pictures_are_the_reduced_whole(pictures: Tensor, n: int, device: str) -> None:
    given = pictures[:n].to(device)
    whole = read_rgb(given, (0, 590, 0, 590), matrix="bt601")
    expected = torch.nn.functional.interpolate(whole.float(), (224, 256), mode="bilinear", antialias=True)
    apart = (reduced_rgb(given, (224, 256), matrix="bt601").float() - expected).abs()
    # Chroma is blown up by interpolation here and in squares there, and rounded before it becomes RGB.
    assert apart.mean() <= 0.6
    assert apart.quantile(0.99) <= 4


BAD: list[tuple[Tensor, Window, type[Exception], str]] = [
    (torch.zeros(1, 48, 32), (0, 2, 0, 2), TypeError, "float32"),
    (torch.zeros(1, 47, 32, dtype=torch.uint8), (0, 2, 0, 2), ValueError, r"\(1, 47, 32\)"),
    (torch.zeros(1, 48, 31, dtype=torch.uint8), (0, 2, 0, 2), ValueError, r"\(1, 48, 31\)"),
    (torch.zeros(1, 32, 48, dtype=torch.uint8).mT, (0, 2, 0, 2), ValueError, "stride"),
    (torch.zeros(1, 48, 32, dtype=torch.uint8), (0, 3, 0, 2), ValueError, r"\(0, 3, 0, 2\)"),
    (torch.zeros(1, 48, 32, dtype=torch.uint8), (0, 34, 0, 2), ValueError, r"\(0, 34, 0, 2\)"),
]


@pytest.mark.parametrize(("pictures", "window", "error", "said"), BAD)
def test_what_cannot_be_read_or_written(pictures: Tensor, window: Window, error: type[Exception], said: str) -> None:
    rgb = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    with pytest.raises(error, match=said):
        read_rgb(pictures, window, matrix="bt709")
    with pytest.raises(error, match=said):
        write_rgb(pictures, window, rgb, rgb, matrix="bt709")


def test_rgb_that_does_not_fit_is_refused() -> None:
    pictures, rgb = torch.zeros(1, 48, 32, dtype=torch.uint8), torch.zeros(1, 3, 4, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"before must be \(1, 3, 2, 2\), got \(1, 3, 4, 2\)"):
        write_rgb(pictures, (0, 2, 0, 2), rgb, rgb[:, :, :2], matrix="bt709")
    with pytest.raises(TypeError, match="after must be uint8, got torch.float32"):
        write_rgb(pictures, (0, 2, 0, 2), rgb[:, :, :2], rgb[:, :, :2].float(), matrix="bt709")
    with pytest.raises(ValueError, match="'rec709'"):
        read_rgb(pictures, (0, 2, 0, 2), matrix="rec709")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("matrix", "luma", "of_blue", "of_red"),
    [  # ITU-R BT.601-7 2.5.1, BT.709-6 3.2 and 3.3, BT.2020-2 table 4: E'Y, and what E'B-E'Y and E'R-E'Y are divided by
        ("bt601", (0.299, 0.587, 0.114), 1.772, 1.402),
        ("bt709", (0.2126, 0.7152, 0.0722), 1.8556, 1.5748),
        ("bt2020", (0.2627, 0.6780, 0.0593), 1.8814, 1.4746),
    ],
)
def test_matrices_are_those_of_the_recommendations(
    matrix: YuvMatrix, luma: tuple[float, ...], of_blue: float, of_red: float
) -> None:
    assert luma_row(matrix)[0] == pytest.approx([219 / 255 * share for share in luma])
    shares = chroma_shares(matrix)
    assert (shares[2][0], shares[0][1]) == pytest.approx((of_blue, of_red))
    assert shares[1] == pytest.approx((-of_blue * luma[2] / luma[1], -of_red * luma[0] / luma[1]))
