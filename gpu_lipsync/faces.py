"""Faces out of the frames and mouths back in: boxes of any size in one batch, by index, on the frames' device."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, Placement, blend_bytes, usable_mouths
from gpu_lipsync.cores import map_on_cores
from gpu_lipsync.face_config import MIN_BOX_PX
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.mouth_fit import fitted_masks
from gpu_lipsync.ops import device_constant, fake_mode, interleaved, reduce_bytes, resize_bytes, upload

SEEN_WHOLE_PX = 2 * FACE_SIZE  # a side that is longer loses pixels where each of its 96 is made of two
CPU_PIECE_VALUES = 1 << 20  # less is more hand-overs between threads, more is out of a core's cache
CPU_PIECE_BYTES = 1 << 22  # where floats are done with block by block, and only bytes are kept


@dataclass(frozen=True)
class Crops:
    """Boxes of one group: which frames of the batch, and where each crop begins in the frames' memory."""

    members: tuple[int, ...]  # frames of the batch, on the host
    frames: Tensor  # the same, (n,) int64
    starts: Tensor  # (n,) int64, pixels from the batch's first one, counted within one colour plane

    def pieces(self, size: int) -> list["Crops"]:
        """The same crops, at most `size` at a time."""
        members = [self.members[first : first + size] for first in range(0, len(self.members), size)]
        parts = zip(members, self.frames.split(size), self.starts.split(size), strict=True)
        return [Crops(*part) for part in parts]


@dataclass(frozen=True)
class CropGroups:
    """A batch's boxes in groups of what is alike."""

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

    Reference: cv2.resize(frame[y1:y2, x1:x2], (96, 96)), no antialias, as the generator was trained, within 1/255. What
    it was trained on is small (LRS2's frames are 160 px wide). Of longer sides than 192 px that takes single pixels,
    others as the face moves: teeth flickered. So those are brought to 192 first, as Pillow's resize does with BILINEAR.
    """
    corners = _corners_of(frames, boxes)
    sizes = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in corners]
    groups = _grouped(corners, _numbered(sizes), frames.shape[2], frames.shape[3], frames.device)
    pixels = _Pixels(frames)
    faces = []
    for crops in groups.crops:
        height, width = sizes[crops.members[0]]
        whole = pixels.read(crops, height, width)
        if max(height, width) > SEEN_WHOLE_PX:
            whole = reduce_bytes(whole, (min(height, SEEN_WHOLE_PX), min(width, SEEN_WHOLE_PX)))
        faces.append(resize_bytes(whole, (FACE_SIZE, FACE_SIZE)))
    return faces[0] if len(faces) == 1 else torch.cat(faces)[groups.inverse]


def paste_faces(
    frames: Tensor, mouths: Tensor, boxes: Tensor, config: BlendConfig, *, fits: Tensor | None = None
) -> Tensor:
    """Blend each generated mouth into its frame.

    Args:
        frames: (B, 3, H, W) uint8 RGB, contiguous or channels-last.
        mouths: (B, 3, 96, 96) float RGB in [0, 1], as the generator made them.
        boxes: (B, 4) int64, as for `crop_faces`.
        config: the mode and its settings.
        fits: (B, 3) int64 on the host, as `Heads` has them: by how many of the mouth's 96 px the mask
            moves to the right and down in each box, as far as there is room, and half of how many the mouth is wide
            that it has to cover; by default it is as the config states.

    Returns:
        Like `frames`, which stay as they are; what lies outside the mask (for `original`, which has none, outside the
        box) is the same bit for bit.

    Raises:
        TypeError, ValueError: as `crop_faces`; mouths of the wrong type, shape or device.
    """
    corners = _corners_of(frames, boxes)
    places = fitted_masks(boxes, fits, config, frames.device)
    alike = _numbered((place.height, place.width, place.stencil) for place in places)
    groups = _grouped(corners, alike, frames.shape[2], frames.shape[3], frames.device)
    if not isinstance(mouths, Tensor) or not mouths.is_floating_point():
        raise TypeError(f"mouths must be a float tensor, got {getattr(mouths, 'dtype', type(mouths).__name__)}")
    if mouths.shape != (len(frames), 3, FACE_SIZE, FACE_SIZE) or mouths.device != frames.device:
        raise ValueError(
            f"mouths must be {(len(frames), 3, FACE_SIZE, FACE_SIZE)} on {frames.device}, "
            f"got {tuple(mouths.shape)} on {mouths.device}"
        )
    mouths = mouths.float()
    pixels = _Pixels(frames, copy=True)
    moving = len(set(places)) > len(groups.crops)
    windows = upload(torch.tensor([(place.left, place.top) for place in places]), frames.device) if moving else None

    def blend(crops: Crops) -> None:
        held = {places[i] for i in crops.members}
        place = held.pop() if windows is None or len(held) == 1 else Placement.around(held, windows[crops.frames])
        usable, chosen = usable_mouths(mouths if len(crops.frames) == len(mouths) else mouths[crops.frames])
        parts = replace(crops, starts=crops.starts + place.first_pixel(frames.shape[3]))
        blended = blend_bytes(lambda: pixels.read(parts, *place.size), chosen, place, config)
        pixels.change(parts, blended, usable)

    if frames.device.type == "cpu" and fake_mode() is None:
        sizes = [_piece_size(places[crops.members[0]], config, len(crops.members)) for crops in groups.crops]
        sized = zip(groups.crops, sizes, strict=True)
        map_on_cores(blend, [piece for crops, size in sized for piece in crops.pieces(size)])
    else:
        for crops in groups.crops:
            blend(crops)
    return pixels.frames


def _numbered(labels: Iterable[Hashable]) -> tuple[int, ...]:
    """Each label's number, in the order of their coming up."""
    known: dict[Hashable, int] = {}
    return tuple(known.setdefault(label, len(known)) for label in labels)


def _piece_size(place: Placement, config: BlendConfig, n_frames: int) -> int:
    """How many crops a CPU blends at once: a core's share, or what stays in its cache."""
    mode = BLENDS[config.method]
    rows, columns = place.size
    fitting = (CPU_PIECE_VALUES if mode.masked else CPU_PIECE_BYTES) // (3 * rows * columns)
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

    def read(self, crops: Crops, height: int, width: int) -> Tensor:
        """What begins where each crop does, (n, 3, height, width) uint8, interleaved."""
        rows, step = self._rows(crops, height), self.channels if self.interleaved else 1
        pixels = self.flat.unfold(0, width * step, 1).index_select(0, rows.flatten())
        if self.interleaved:
            return pixels.view(-1, height, width, self.channels).permute(0, 3, 1, 2)
        return interleaved(pixels.view(-1, self.channels, height, width))

    def change(self, crops: Crops, pixels: Tensor, which: Tensor) -> None:
        """Put `pixels`, shaped as `read` returns them, where `read` found them, in the frames where `which` is true."""
        rows, step = self._rows(crops, pixels.shape[2]), self.channels if self.interleaved else 1
        rows = torch.where(which.view(-1, 1), rows, self.spare).flatten()
        length = pixels.shape[3] * step
        pixels = (pixels.permute(0, 2, 3, 1) if self.interleaved else pixels).reshape(-1, length)
        if self.flat.device.type == "cpu" and fake_mode() is None:
            # Torch goes byte by byte here, NumPy row by row: an eighth of the time.
            sliding_window_view(self.flat.numpy(), length, writeable=True)[rows.numpy()] = pixels.numpy()
        else:
            self.flat.unfold(0, length, 1)[rows] = pixels

    def _rows(self, crops: Crops, n_rows: int) -> Tensor:
        """Where in memory each row of the crops' first ones begins: (n, rows of a crop)."""
        device = self.frames.device
        if self.interleaved:
            return (crops.starts[:, None] + _row_starts(1, self.height, self.width, n_rows, device)) * self.channels
        rows = _row_starts(self.channels, self.height, self.width, n_rows, device)
        first = crops.starts + crops.frames * ((self.channels - 1) * self.height * self.width)
        return first[:, None] + rows


@device_constant
def _row_starts(planes: int, height: int, width: int, n_rows: int, device: torch.device) -> Tensor:
    """Offsets of rows below each other, plane by plane, from the first one's first pixel."""
    plane, row = torch.arange(planes) * height * width, torch.arange(n_rows) * width
    return upload((plane[:, None] + row).flatten(), device)


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
def _grouped(
    boxes: tuple[tuple[int, int, int, int], ...],
    numbers: tuple[int, ...],
    height: int,
    width: int,
    device: torch.device,
) -> CropGroups:
    """Group boxes by their numbers; one upload holds all that the device has to know about them."""
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(numbers):
        groups.setdefault(number, []).append(i)
    order = [i for members in groups.values() for i in members]
    starts = [i * height * width + boxes[i][1] * width + boxes[i][0] for i in order]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    frames, begins, back = upload(torch.tensor([order, starts, inverse]), device).unbind()
    lengths = [len(members) for members in groups.values()]
    parts = zip(groups.values(), frames.split(lengths), begins.split(lengths), strict=True)
    return CropGroups(tuple(Crops(tuple(members), *part) for members, *part in parts), back)
