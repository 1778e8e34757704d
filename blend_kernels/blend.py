"""The one registry of blend modes, and what all of them have in common."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig, BlendMethod
from gpu_lipsync.blend_kernels.edge_aware import REACH, edge_aware
from gpu_lipsync.blend_kernels.ellipse import ellipse
from gpu_lipsync.blend_kernels.guided import guided
from gpu_lipsync.blend_kernels.hd import hd
from gpu_lipsync.blend_kernels.mask import place_everywhere, place_mask
from gpu_lipsync.blend_kernels.motion import Motion
from gpu_lipsync.blend_kernels.mouths import MOUTH_SIZE, Mouths
from gpu_lipsync.blend_kernels.multiscale import multiscale
from gpu_lipsync.blend_kernels.original import original, original_bytes
from gpu_lipsync.blend_kernels.patch import SHARPEN_REACH
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import check_image, check_same_device, interleaved, to_float, to_uint8
from gpu_lipsync.ops.boxes import Window

BICUBIC_BEFORE, BICUBIC_AFTER = 1, 2  # pixels that resizing sees around where a result falls


@dataclass(frozen=True)
class Blend:
    """A mode: what it does with a window of the crop, how far beyond the mask it has to see, whether it looks at the
    window's corners, where the mask is 0, and whether it needs more of the generated mouth than the mask shows.

    `apply` gets faces (interleaved), mouths, their placement and the settings, leaves them alone, and returns the
    window, interleaved; where the mask is 0 that is the face, bit for bit. Without a mask it is the patch.
    """

    apply: Callable[[Tensor, Mouths, Placement, BlendConfig], Tensor]
    margin: int = 0
    masked: bool = True
    corners: bool = False
    whole_mouth: bool = False


BLENDS: dict[BlendMethod, Blend] = {
    "ellipse": Blend(ellipse),
    "multiscale": Blend(multiscale, corners=True),
    "edge_aware": Blend(edge_aware, margin=REACH, corners=True),
    "guided": Blend(guided, corners=True),
    "hd": Blend(hd, whole_mouth=True),
    "original": Blend(original, masked=False, whole_mouth=True),
}


def blend_mouths(
    faces: Tensor,
    mouths: Tensor,
    config: BlendConfig,
    *,
    sources: Tensor | None = None,
    motion: Motion | None = None,
) -> Tensor:
    """Put each generated mouth into its face.

    Where the mask is 0 the result is the face, bit for bit; `original` has no mask and replaces all of it. A mouth with
    a NaN or infinity anywhere is not used: its face comes back as it is.

    Args:
        faces: (B, 3, h, w) float32 RGB in [0, 1], h and w at least 16.
        mouths: (B, 3, 96, 96) float32 RGB in [0, 1], as the generator made them.
        config: the mode and its settings.
        sources: like `mouths`, what the generator made them from; `keep_detail` needs them, in modes with a mask.
        motion: how they moved from there, for `keep_detail`; by default what moved keeps none.

    Returns:
        (B, 3, h, w), a new tensor.

    Raises:
        TypeError: a tensor that is not float32.
        ValueError: shapes or devices that do not fit each other; no `sources` where they are needed.
    """
    check_image(faces, 3, name="faces")
    check_image(mouths, 3, name="mouths")
    check_same_device(faces, mouths, names="faces and mouths")
    if mouths.shape[2:] != (MOUTH_SIZE, MOUTH_SIZE) or len(mouths) != len(faces):
        raise ValueError(f"mouths must be ({len(faces)}, 3, {MOUTH_SIZE}, {MOUTH_SIZE}), got {tuple(mouths.shape) = }")
    place = place_blend(faces.shape[2], faces.shape[3], config, faces.device)
    usable, mouths = usable_mouths(mouths)
    out = faces.clone()
    window = out[:, :, place.top : place.bottom, place.left : place.right]
    generated = Mouths(mouths)
    if keeps_detail(config):
        if sources is None:
            raise ValueError("keep_detail needs sources: the faces that the mouths were made from")
        check_image(sources, 3, name="sources")
        check_same_device(sources, mouths, names="sources and mouths")
        if sources.shape != mouths.shape:
            raise ValueError(f"sources must be {tuple(mouths.shape)}, got {tuple(sources.shape)}")
        generated = Mouths.keeping_detail(mouths, sources, (part_seen(place, config),), motion)
    blended = BLENDS[config.method].apply(interleaved(window), generated, place, config)
    window.copy_(torch.where(usable, blended, window))
    return out


def keeps_detail(config: BlendConfig) -> bool:
    """Whether mouths have to know what they were made from."""
    return config.keep_detail and BLENDS[config.method].masked


def finite_mouths(mouths: Tensor) -> Tensor:
    """Which mouths (B, 3, 96, 96) float are free of NaN and infinity: (B,) bool, on their device."""
    return mouths.flatten(1).sum(1).isfinite()


def usable_mouths(mouths: Tensor) -> tuple[Tensor, Tensor]:
    """Find out which mouths are free of NaN and infinity, and make all of them safe to work with.

    Args:
        mouths: (B, 3, 96, 96) float32.

    Returns:
        (B, 1, 1, 1) bool, and the mouths in [0, 1]. The modes take the latter; a face whose mouth is not usable is to
        stay as it is.
    """
    usable = finite_mouths(mouths)[:, None, None, None]
    return usable, mouths.nan_to_num(0.0).clamp_(0.0, 1.0)


def place_blend(
    height: int,
    width: int,
    config: BlendConfig,
    device: torch.device,
    *,
    half_mouth: int = 0,
    shift: tuple[int, int] = (0, 0),
) -> Placement:
    """The window of a height x width crop that the mode reads and writes, and the mask there, as `place_mask`."""
    mode = BLENDS[config.method]
    if not mode.masked:
        return place_everywhere(height, width, device)
    return place_mask(height, width, config, mode.margin, device, half_mouth=half_mouth, shift=shift)


def part_seen(place: Placement, config: BlendConfig) -> Window:
    """The part of a 96 x 96 mouth that blending it in at `place` reads."""
    if BLENDS[config.method].whole_mouth:
        return Window(0, MOUTH_SIZE, 0, MOUTH_SIZE)
    reach = SHARPEN_REACH if config.sharpen_mouth else 0
    rows = _seen(place.top - reach, place.bottom + reach, place.height)
    return Window(*rows, *_seen(place.left - reach, place.right + reach, place.width))


def _seen(start: int, stop: int, length: int) -> tuple[int, int]:
    """Pixels of the patch from which those in [start, stop) of a crop of that length are made."""
    first, last = ((at + 0.5) * MOUTH_SIZE / length - 0.5 for at in (max(0, start), min(length, stop) - 1))
    return max(0, int(first // 1) - BICUBIC_BEFORE), min(MOUTH_SIZE, int(last // 1) + BICUBIC_AFTER + 1)


def blend_bytes(faces: Tensor | None, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Blend under the masks alone, from and to 8-bit frames.

    Args:
        faces: what lies under the masks, (B, 3, rows, columns) uint8, interleaved; None will do for a mode without one.
        mouths: those of `usable_mouths`.
        place: from `place_blend`, or around several of those.
        config: the mode and its settings.

    Returns:
        (B, 3, rows, columns) uint8, interleaved.
    """
    mode = BLENDS[config.method]
    if not mode.masked:
        return original_bytes(mouths, place, config)
    assert faces is not None, f"{config.method} mixes mouths with faces"
    return to_uint8(mode.apply(to_float(faces), mouths, place, config))
