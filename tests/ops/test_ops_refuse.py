"""What no operation can work on is refused, with the value in the message."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gpu_lipsync import ops

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian_blur": lambda x: ops.gaussian_blur(x, 5),
    "box_blur": lambda x: ops.box_blur(x, 5),
    "unsharp_mask": lambda x: ops.unsharp_mask(x, 0.5),
    "bilateral_filter": lambda x: ops.bilateral_filter(x, 5, sigma_color=0.2, sigma_space=50),
    "guided_filter": lambda x: ops.guided_filter(x, x, 4, eps=0.01),
    "clahe": lambda x: ops.clahe(x, 2.0, (4, 4)),
    "canny": lambda x: ops.canny(x, 30, 100),
    "rgb_to_lab": ops.rgb_to_lab,
    "lab_to_rgb": ops.lab_to_rgb,
    "lightness": ops.lightness,
    "with_lightness": lambda x: ops.with_lightness(x, x[:, :1]),
    "resize": lambda x: ops.resize(x, (20, 20)),
    "resize_sharpened": lambda x: ops.resize_sharpened(x, (40, 50), ((0.5, 1.0, 7),)),
    "resize_to_bytes": lambda x: ops.resize_to_bytes(x, (20, 20), (0, 20, 0, 20)),
    "resize_window": lambda x: ops.resize_window(x, (20, 20), (0, 20, 0, 20)),
    "grey": ops.grey,
    "pyramid_down": ops.pyramid_down,
    "pyramid_up": lambda x: ops.pyramid_up(x, (64, 64)),
    "to_uint8": ops.to_uint8,
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_wrong_dtype(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=str(dtype)):
        OPERATIONS[name](torch.zeros(1, 3, 32, 32, dtype=dtype))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (0, 3, 32, 32), (1, 3, 0, 32)])
def test_wrong_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        OPERATIONS[name](torch.zeros(shape))


@pytest.mark.parametrize("name", OPERATIONS)
def test_not_a_tensor(name: str) -> None:
    with pytest.raises(TypeError, match="list"):
        OPERATIONS[name]([[1.0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["rgb_to_lab", "lab_to_rgb", "lightness", "with_lightness", "canny", "guided_filter", "grey"]
)
def test_wrong_number_of_channels(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 32, 32\)"):
        OPERATIONS[name](torch.zeros(1, 2, 32, 32))


IMAGE = torch.zeros(1, 1, 32, 32)
BAD_SETTINGS: list[tuple[str, Callable[[], Tensor]]] = [
    ("got 4", lambda: ops.gaussian_blur(IMAGE, 4)),
    ("got -1", lambda: ops.gaussian_blur(IMAGE, 3, sigma=-1)),
    ("got nan", lambda: ops.gaussian_blur(IMAGE, 3, sigma=float("nan"))),
    ("32 px does not fit", lambda: ops.gaussian_blur(IMAGE, 65)),
    ("got 0", lambda: ops.box_blur(IMAGE, 0)),
    ("got -0.5", lambda: ops.unsharp_mask(IMAGE, -0.5)),
    ("got 6", lambda: ops.bilateral_filter(IMAGE, 6, sigma_color=1, sigma_space=1)),
    ("got 0", lambda: ops.bilateral_filter(IMAGE, 5, sigma_color=0, sigma_space=1)),
    ("40 px does not fit", lambda: ops.guided_filter(IMAGE, IMAGE, 40, eps=0.01)),
    ("got 0", lambda: ops.guided_filter(IMAGE, IMAGE, 0, eps=0.01)),
    ("got 0", lambda: ops.guided_filter(IMAGE, IMAGE, 4, eps=0)),
    (r"\(1, 1, 31, 32\)", lambda: ops.guided_filter(IMAGE, IMAGE[:, :, :31], 4, eps=0.01)),
    ("got 0.5", lambda: ops.clahe(IMAGE, 0.5)),
    (r"\(17, 4\)", lambda: ops.clahe(IMAGE, 2.0, (17, 4))),
    (r"\(0, 33, 0, 32\)", lambda: ops.clahe(IMAGE, 2.0, window=(0, 33, 0, 32))),
    (r"\(1, 1, 32, 31\)", lambda: ops.with_lightness(torch.zeros(1, 3, 32, 32), IMAGE[..., :31])),
    ("got 11", lambda: ops.resize_sharpened(IMAGE, (9, 9), ((11, 1.0, 3),))),
    ("got 4", lambda: ops.resize_sharpened(IMAGE, (9, 9), ((1, 1.0, 4),))),
    (r"\(0, 9\)", lambda: ops.resize_sharpened(IMAGE, (0, 9), ((1, 1.0, 3),))),
    ("got 200", lambda: ops.canny(IMAGE, 200, 100)),
    ("'nearest'", lambda: ops.resize(IMAGE, (9, 9), mode="nearest")),  # type: ignore[arg-type]
    (r"\(0, 9\)", lambda: ops.resize(IMAGE, (0, 9))),
    (r"\(0, 9\)", lambda: ops.resize_bytes(IMAGE.byte(), (0, 9))),
    (r"\(0, 9\)", lambda: ops.reduce_bytes(IMAGE.byte(), (0, 9))),
    (r"\(0, 10, 0, 9\)", lambda: ops.resize_window(IMAGE, (9, 9), (0, 10, 0, 9))),
    (r"\(0, 10, 0, 9\)", lambda: ops.resize_to_bytes(IMAGE, (9, 9), (0, 10, 0, 9))),
    ("cpu and meta", lambda: ops.with_lightness(torch.zeros(1, 3, 32, 32), IMAGE.to("meta"))),
    (r"\(60, 64\)", lambda: ops.pyramid_up(IMAGE, (60, 64))),
    ("cpu and meta", lambda: ops.guided_filter(IMAGE, IMAGE.to("meta"), 4, eps=0.01)),
]


@pytest.mark.parametrize(("message", "call"), BAD_SETTINGS, ids=[message for message, _ in BAD_SETTINGS])
def test_wrong_setting(message: str, call: Callable[[], Tensor]) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call", [ops.to_float, lambda f: ops.resize_bytes(f, (4, 4)), lambda f: ops.reduce_bytes(f, (4, 4))]
)
def test_what_takes_frames_only(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(TypeError, match="torch.float32"):
        call(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        call(torch.zeros(3, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "to_uint8"])
def test_the_image_is_left_alone(name: str) -> None:
    image = torch.rand(2, 1 if name in ("canny", "guided_filter") else 3, *((32, 32) if "up" in name else (33, 40)))
    before = image.clone()
    OPERATIONS[name](image)
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("canny", "guided_filter")])
def test_interleaved_images_are_images_too(name: str) -> None:
    """Channels-last, as decoders deliver them, and more than one: a view of planes does not fit them."""
    image = torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
    operation = (lambda x: ops.pyramid_up(x, (66, 80))) if name == "pyramid_up" else OPERATIONS[name]
    found, expected = operation(ops.interleaved(image)), operation(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)  # float32 sums, another order
