"""Faces out of the frames and mouths back in: boxes of any size in one batch, by index, on the frames' device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, Placement, blend_bytes, usable_mouths
from gpu_lipsync.cores import map_on_cores
from gpu_lipsync.face_config import MIN_BOX_PX
from gpu_lipsync.mouth_fit import NO_MOVE, fitted_masks
from gpu_lipsync.ops import device_constant, fake_mode, interleaved, resize_bytes, upload

FACE_SIZE = 96  # what the generator takes and makes, pixels
CPU_PIECE_VALUES = 1 << 20  # less is more hand-overs between threads, more is out of a core's cache
CPU_PIECE_BYTES = 1 << 22  # where floats are done with block by block, and only bytes are kept


@dataclass(frozen=True)
class Crops:
    """Boxes of one size and mask: which frames of the batch, and where each crop begins in the frames' memory."""

    height: int
    width: int
    first: int  # of the frames
    frames: Tensor  # (n,) int64
    starts: Tensor  # (n,) int64, pixels from the batch's first one, counted within one colour plane

    def pieces(self, size: int) -> list["Crops"]:
        """The same crops, at most `size` at a time."""
        parts = zip(self.frames.split(size), self.starts.split(size), strict=True)
        return [replace(self, frames=frames, starts=starts) for frames, starts in parts]


@dataclass(frozen=True)
class Layout:
    """A batch's boxes, grouped by size and mask."""

    crops: tuple[Crops, ...]
    inverse: Tensor  # (B,) int64: where in the concatenated groups each frame's crop is


def crop_faces(frames: Tensor, boxes: Tensor) -> Tensor:
    """Cut out each frame's face at the generator's size.

    Args:
        frames: (B, 3, H, W) uint8 RGB, contiguous or channels-last.
        boxes: (B, 4) int64 x1 y1 x2 y2, pixels, end exclusive, on the host; at least 16 x 16, of any sizes.

    Returns:
        (B, 3, 96, 96) float32 RGB in [0, 1]; on a CPU whole levels, as the generator was trained with.

    Raises:
        TypeError: `frames` is not uint8, or `boxes` is not int64.
        ValueError: shapes that do not fit each other, boxes that are not on the host, too small or reach out of the
            frame.

    Reference: cv2.resize(frame[y1:y2, x1:x2], (96, 96)), no antialias, as the generator was trained; within 1/255.
    """
    layout = _layout(_corners_of(frames, boxes), (0,) * len(boxes), frames.shape[2], frames.shape[3], frames.device)
    pixels = _Pixels(frames)
    faces = []
    for crops in layout.crops:
        crop = pixels.read(crops, (0, crops.height, 0, crops.width))
        faces.append(resize_bytes(crop, (FACE_SIZE, FACE_SIZE)))
    return faces[0] if len(faces) == 1 else torch.cat(faces)[layout.inverse]


def paste_faces(
    frames: Tensor, mouths: Tensor, boxes: Tensor, config: BlendConfig, *, fits: Tensor | None = None
) -> Tensor:
    """Blend each generated mouth into its frame.

    Args:
        frames: (B, 3, H, W) uint8 RGB, contiguous or channels-last.
        mouths: (B, 3, 96, 96) float RGB in [0, 1], as the generator made them.
        boxes: (B, 4) int64, as for `crop_faces`.
        config: the mode and its settings.
        fits: (B, 3) int64 on the host, as `FaceTracker.fits` gives them: by how many of the mouth's 96 px the mask
            moves to the right and down in each box, as far as there is room, and half of how many the mouth is wide
            that it has to cover; by default it is as the config states.

    Returns:
        Like `frames`, which stay as they are; what lies outside the mask (for `original`, which has none, outside the
        box) is the same bit for bit.

    Raises:
        TypeError, ValueError: as `crop_faces`; mouths of the wrong type, shape or device.
    """
    corners = _corners_of(frames, boxes)
    places, moves = zip(*fitted_masks(boxes, fits, config, frames.device), strict=True)
    layout = _layout(corners, _kinds(places), frames.shape[2], frames.shape[3], frames.device)
    if not isinstance(mouths, Tensor) or not mouths.is_floating_point():
        raise TypeError(f"mouths must be a float tensor, got {getattr(mouths, 'dtype', type(mouths).__name__)}")
    if mouths.shape != (len(frames), 3, FACE_SIZE, FACE_SIZE) or mouths.device != frames.device:
        raise ValueError(
            f"mouths must be {(len(frames), 3, FACE_SIZE, FACE_SIZE)} on {frames.device}, "
            f"got {tuple(mouths.shape)} on {mouths.device}"
        )
    mouths = mouths.float()
    pixels = _Pixels(frames, copy=True)
    moved = upload(torch.tensor(moves), frames.device).unbind(1) if any(move != NO_MOVE for move in moves) else None
    for crops in layout.crops:
        place = places[crops.first]
        chosen = mouths if len(layout.crops) == 1 else mouths[crops.frames]
        if moved is not None:
            patch_px, crop_px = (part[crops.frames] for part in moved)
            starts = crops.starts + crop_px[:, 0] + crop_px[:, 1] * frames.shape[3]
            chosen, crops = _shifted(chosen, patch_px), replace(crops, starts=starts)
        size = _piece_size(place, config, len(chosen), frames.device)

        def blend(piece: tuple[Crops, Tensor], place: Placement = place) -> None:
            crops, (usable, mouths) = piece[0], usable_mouths(piece[1])
            blended = blend_bytes(lambda: pixels.read(crops, place.window), mouths, place, config)
            pixels.change(crops, place.window, blended, usable)

        map_on_cores(blend, zip(crops.pieces(size), chosen.split(size), strict=True))
    return pixels.frames


def _kinds(places: Sequence[Placement]) -> tuple[int, ...]:
    """Numbers of places among those of their size: as a rule all 0, and the layout is the one that cropping made."""
    of_size: dict[tuple[int, int], dict[Placement, int]] = {}
    for place in places:
        known = of_size.setdefault((place.height, place.width), {})
        known.setdefault(place, len(known))
    return tuple(of_size[place.height, place.width][place] for place in places)


def _shifted(mouths: Tensor, shifts: Tensor) -> Tensor:
    """Mouths (n, 3, 96, 96) moved left and up by `shifts` (n, 2), edges repeated: what is to lie under the mask."""
    places = (torch.arange(FACE_SIZE, device=mouths.device) + shifts[..., None]).clamp_(0, FACE_SIZE - 1)
    across, down = places.unbind(1)
    pixels = (down[:, :, None] * FACE_SIZE + across[:, None]).flatten(1)
    return mouths.flatten(2).gather(2, pixels[:, None].expand(-1, 3, -1)).view(mouths.shape)


def _piece_size(place: Placement, config: BlendConfig, n_frames: int, device: torch.device) -> int:
    """How many crops to blend at once: all of them, but on a CPU only a core's share, and what stays in its cache."""
    if device.type != "cpu":
        return n_frames
    mode = BLENDS[config.method]
    window_values = 3 * (place.bottom - place.top) * (place.right - place.left)
    fitting = (CPU_PIECE_VALUES if mode.masked else CPU_PIECE_BYTES) // window_values
    return max(1, min(-(-n_frames // torch.get_num_threads()), fitting))


class _Pixels:
    """Windows of a batch's crops, read and written as rows of memory: one operation for any number of frames.

    Frames are colour planes (contiguous) or interleaved (channels-last, as decoders deliver them); both are rows.
    """

    def __init__(self, frames: Tensor, *, copy: bool = False) -> None:
        self.interleaved = not frames.is_contiguous() and frames.is_contiguous(memory_format=torch.channels_last)
        given = frames.permute(0, 2, 3, 1) if self.interleaved else frames.contiguous()
        self.batch, self.channels, self.height, self.width = frames.shape
        self.spare = frames.numel()  # a copy has a row more than the frames, for what is not to be written
        self.flat = given.new_empty(self.spare + self.width * self.channels) if copy else given.view(-1)
        held = self.flat[: self.spare].view(given.shape)
        if copy:
            held.copy_(given)
        self.frames = held.permute(0, 3, 1, 2) if self.interleaved else held

    def read(self, crops: Crops, window: tuple[int, int, int, int]) -> Tensor:
        """(n, 3, window height, window width) uint8, interleaved."""
        y1, y2, x1, x2 = window
        rows, step = self._rows(crops, window), self.channels if self.interleaved else 1
        pixels = self.flat.unfold(0, (x2 - x1) * step, 1).index_select(0, rows.flatten())
        if self.interleaved:
            return pixels.view(-1, y2 - y1, x2 - x1, self.channels).permute(0, 3, 1, 2)
        return interleaved(pixels.view(-1, self.channels, y2 - y1, x2 - x1))

    def change(self, crops: Crops, window: tuple[int, int, int, int], pixels: Tensor, which: Tensor) -> None:
        """Put `pixels`, shaped as `read` returns them, where `read` found them, in the frames where `which` is true."""
        rows, step = self._rows(crops, window), self.channels if self.interleaved else 1
        rows = torch.where(which.view(-1, 1), rows, self.spare).flatten()
        length = (window[3] - window[2]) * step
        pixels = (pixels.permute(0, 2, 3, 1) if self.interleaved else pixels).reshape(-1, length)
        if self.flat.device.type == "cpu" and fake_mode() is None:
            # Torch goes byte by byte here, NumPy row by row: an eighth of the time.
            sliding_window_view(self.flat.numpy(), length, writeable=True)[rows.numpy()] = pixels.numpy()
        else:
            self.flat.unfold(0, length, 1)[rows] = pixels

    def _rows(self, crops: Crops, window: tuple[int, int, int, int]) -> Tensor:
        """Where in memory each row of the window begins: (n, rows of a crop)."""
        device = self.frames.device
        y1, y2, x1, _ = window
        if self.interleaved:
            rows = _row_starts(1, self.height, self.width, y1, y2, x1, device)
            return (crops.starts[:, None] + rows) * self.channels
        rows = _row_starts(self.channels, self.height, self.width, y1, y2, x1, device)
        first = crops.starts + crops.frames * ((self.channels - 1) * self.height * self.width)
        return first[:, None] + rows


@device_constant
def _row_starts(planes: int, height: int, width: int, y1: int, y2: int, x1: int, device: torch.device) -> Tensor:
    """Offsets of a window's rows, plane by plane, from the crop's first pixel."""
    plane, row = torch.arange(planes) * height * width, torch.arange(y1, y2) * width
    return upload((plane[:, None] + row + x1).flatten(), device)


def _corners_of(frames: Tensor, boxes: Tensor) -> tuple[tuple[int, int, int, int], ...]:
    if not isinstance(frames, Tensor) or frames.dtype != torch.uint8:
        raise TypeError(f"frames must be a uint8 tensor, got {getattr(frames, 'dtype', type(frames).__name__)}")
    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) == 0:
        raise ValueError(f"frames must be (B, 3, H, W), got {tuple(frames.shape) = }")
    if not isinstance(boxes, Tensor) or boxes.dtype != torch.int64:
        raise TypeError(f"boxes must be an int64 tensor, got {getattr(boxes, 'dtype', type(boxes).__name__)}")
    if boxes.device.type != "cpu" or boxes.shape != (len(frames), 4):
        raise ValueError(f"boxes must be ({len(frames)}, 4) on the host, got {tuple(boxes.shape)} on {boxes.device}")
    height, width = frames.shape[2:]
    corners = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist())
    for i, (x1, y1, x2, y2) in enumerate(corners):
        if not (x1 >= 0 and x1 + MIN_BOX_PX <= x2 <= width and y1 >= 0 and y1 + MIN_BOX_PX <= y2 <= height):
            raise ValueError(
                f"box {i} must be at least {MIN_BOX_PX} x {MIN_BOX_PX} and inside the {width} x {height} frame, "
                f"got {(x1, y1, x2, y2) = }"
            )
    return corners


@device_constant
def _layout(
    boxes: tuple[tuple[int, int, int, int], ...], kinds: tuple[int, ...], height: int, width: int, device: torch.device
) -> Layout:
    """Group boxes by size and the kind of their mask; one upload holds all that the device has to know about them."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        groups.setdefault((y2 - y1, x2 - x1, kinds[i]), []).append(i)
    order = [i for members in groups.values() for i in members]
    starts = [i * height * width + boxes[i][1] * width + boxes[i][0] for i in order]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    frames, begins, back = upload(torch.tensor([order, starts, inverse]), device).unbind()
    lengths = [len(members) for members in groups.values()]
    parts = zip(groups.items(), frames.split(lengths), begins.split(lengths), strict=True)
    crops = (Crops(high, wide, members[0], *part) for ((high, wide, _), members), *part in parts)
    return Layout(tuple(crops), back)
