"""Faces out of the frames and mouths back in: boxes of any size in one batch, by index, on the frames' device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import (
    BLENDS,
    BlendConfig,
    Motion,
    Mouths,
    Placement,
    blend_bytes,
    keeps_detail,
    part_seen,
    usable_mouths,
)
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops import interleaved, on_host, reduce_bytes, resize_bytes, to_float, upload
from gpu_lipsync.ops.boxes import Rect, Window
from gpu_lipsync.pasting.crops import Crops, Pixels, grouped, numbered
from gpu_lipsync.pasting.face_checks import checked_tilts, corners_of, require_mouths
from gpu_lipsync.pasting.mouth_fit import fitted_masks
from gpu_lipsync.pasting.tilted import Aslant, Turn, masks_aslant, of_one_size, windows_around, windows_of_boxes
from gpu_lipsync.process.cores import map_on_cores

SEEN_WHOLE_PX = 2 * FACE_SIZE  # a side that is longer loses pixels where each of its 96 is made of two
CPU_PIECE_VALUES = 1 << 20  # less is more hand-overs between threads, more is out of a core's cache
CPU_PIECE_BYTES = 1 << 22  # where floats are done with block by block, and only bytes are kept


def crop_faces(frames: Tensor, boxes: Tensor, *, tilts: Tensor | None = None) -> Tensor:
    """Cut out each frame's face at the generator's size.

    Args:
        frames: (B, 3, H, W) uint8 RGB, contiguous or channels-last.
        boxes: (B, 4) int64 x1 y1 x2 y2, pixels, end exclusive, on the host; at least 16 x 16, of any sizes.
        tilts: (B,) float64 on the host, degrees by which each box is turned clockwise (as seen) round its middle; the
            crop comes out upright. A turned box may reach out of the frame, whose edge is repeated there. By default
            none is turned.

    Returns:
        (B, 3, 96, 96) float32 RGB in [0, 1]; on a CPU whole levels, as the generator was trained with.

    Raises:
        TypeError: `frames` is not uint8, `boxes` is not int64, or `tilts` is not float64.
        ValueError: shapes that do not fit each other, boxes that are not on the host, too small or reach out of the
            frame, tilts that are no numbers.

    Reference: cv2.resize(frame[y1:y2, x1:x2], (96, 96)), no antialias, as the generator was trained, within 1/255. What
    it was trained on is small (LRS2's frames are 160 px wide). On sides above 192 px it picks single pixels, others as
    the face moves, and teeth flickered: those are reduced to 192 first, as Pillow's resize does with BILINEAR.
    """
    degrees = checked_tilts(tilts, len(frames))
    corners = corners_of(frames, boxes, degrees)
    sizes = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in corners]
    alike = numbered((*size, tilt != 0) for size, tilt in zip(sizes, degrees, strict=True))
    aslant = [Aslant(corner, corner, tilt) for corner, tilt in zip(corners, degrees, strict=True)]
    windows = windows_of_boxes(corners, degrees, (frames.shape[2], frames.shape[3]))
    groups = grouped(windows, alike, frames.shape[2], frames.shape[3], frames.device)
    pixels = Pixels(frames)
    faces = []
    for crops in groups.crops:
        first = crops.members[0]
        x1, y1, x2, y2 = windows[first]
        whole = pixels.read(crops, y2 - y1, x2 - x1)
        if degrees[first]:
            turn = Turn(aslant, windows, crops.members, frames.device)
            faces.append(_upright(whole, turn, max(sizes[first])))
            continue
        if max(sizes[first]) > SEEN_WHOLE_PX:
            height, width = sizes[first]
            whole = reduce_bytes(whole, (min(height, SEEN_WHOLE_PX), min(width, SEEN_WHOLE_PX)))
        faces.append(resize_bytes(whole, (FACE_SIZE, FACE_SIZE)))
    return faces[0] if len(faces) == 1 else torch.cat(faces)[groups.inverse]


def paste_faces(
    frames: Tensor,
    mouths: Tensor,
    boxes: Tensor,
    config: BlendConfig,
    *,
    fits: Tensor | None = None,
    tilts: Tensor | None = None,
    sources: Tensor | None = None,
    motion: Motion | None = None,
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
        tilts: as for `crop_faces`.
        sources: like `mouths`, the faces that those were made from, for `keep_detail`; by default they are cropped
            anew.
        motion: how lips and chins moved from the sources, for `keep_detail`; by default what moved keeps no detail.

    Returns:
        Like `frames`, which stay as they are; what lies outside the mask (for `original`, which has none, outside the
        box) is the same bit for bit.

    Raises:
        TypeError, ValueError: as `crop_faces`; mouths of the wrong type, shape or device.
    """
    degrees = checked_tilts(tilts, len(frames))
    corners = corners_of(frames, boxes, degrees)
    require_mouths(mouths, frames)
    if sources is not None:
        require_mouths(sources, frames, name="sources")
    places = fitted_masks(boxes, fits, config, frames.device)
    masks = masks_aslant(places, corners, degrees)
    if BLENDS[config.method].corners:  # they are read, too, if not changed
        masks = [mask._replace(outline=None) for mask in masks]
    alike = numbered(
        (place.height, place.width, place.stencil, tilt != 0) for place, tilt in zip(places, degrees, strict=True)
    )
    windows = _windows(masks, alike, frames)
    groups = grouped(windows, alike, frames.shape[2], frames.shape[3], frames.device)
    pixels = Pixels(frames, copy=True)
    if not keeps_detail(config):
        sources = None
    elif sources is None:
        sources = crop_faces(frames, boxes, tilts=tilts)
    where = _Places(places, groups.crops, frames.device)
    pasting = _Pasting(pixels, mouths.float(), sources, motion, where, masks, windows, config)
    if on_host(frames):
        sizes = [_piece_size(places[crops.members[0]], config, len(crops.members)) for crops in groups.crops]
        sized = zip(groups.crops, sizes, strict=True)
        map_on_cores(pasting.blend, [piece for crops, size in sized for piece in crops.pieces(size)])
    else:
        for crops in groups.crops:
            pasting.blend(crops)
    return pixels.frames


class _Places:
    """Where the mask lies in each box of a batch; on the device, too, unless all of a group have it at one place."""

    def __init__(self, places: Sequence[Placement], groups: Sequence[Crops], device: torch.device) -> None:
        self._places = places
        moving = any(len({places[i] for i in crops.members}) > 1 for crops in groups)
        corners = torch.tensor([(place.left, place.top) for place in places])
        self._corners = upload(corners, device) if moving else None

    def of(self, crops: Crops) -> Placement:
        """The one placement of these crops, or one around all of theirs."""
        held = {self._places[i] for i in crops.members}
        if self._corners is None or len(held) == 1:
            return held.pop()
        return Placement.around(held, self._corners[crops.frames])

    def seen(self, crops: Crops, config: BlendConfig) -> tuple[Window, ...]:
        """The part of these crops' mouths that is blended in: of each, or once if it is the same of all."""
        windows = tuple(part_seen(self._places[i], config) for i in crops.members)
        return windows[:1] if len(set(windows)) == 1 else windows


@dataclass(frozen=True)
class _Pasting:
    """Mouths laid into a copy of a batch's frames: `masks` and `windows` are its boxes', in the batch's order."""

    pixels: Pixels
    mouths: Tensor
    sources: Tensor | None  # what they were made from, where their detail is kept
    motion: Motion | None
    places: _Places
    masks: Sequence[Aslant]
    windows: Sequence[Rect]
    config: BlendConfig

    def blend(self, crops: Crops) -> None:
        """Those of one group, or some of them."""
        place, config = self.places.of(crops), self.config
        masked = BLENDS[config.method].masked
        usable, made = usable_mouths(self._of(crops, self.mouths))
        mouths = Mouths(made)
        if self.sources is not None:
            source, motion = self._of(crops, self.sources).float(), self.motion
            if motion is not None:
                motion = Motion(self._of(crops, motion.shift), self._of(crops, motion.shown))
            mouths = Mouths.keeping_detail(made, source, self.places.seen(crops, config), motion)
        if self.masks[crops.members[0]].tilt:
            turn = Turn(self.masks, self.windows, crops.members, self.mouths.device)
            around = self.pixels.read(crops, *turn.size)
            blended = turn.blended(
                around, place, lambda faces: blend_bytes(interleaved(faces) if masked else None, mouths, place, config)
            )
        else:
            crops = replace(crops, starts=crops.starts + place.first_pixel(self.pixels.width))
            faces = self.pixels.read(crops, *place.size) if masked else None
            blended = blend_bytes(faces, mouths, place, config)
        self.pixels.change(crops, blended, usable)

    def _of(self, crops: Crops, pictures: Tensor) -> Tensor:
        """Their share of one picture for each frame of the batch."""
        return pictures if len(crops.frames) == len(pictures) else pictures[crops.frames]


def _piece_size(place: Placement, config: BlendConfig, n_frames: int) -> int:
    """How many crops a CPU blends at once: a core's share, or what stays in its cache."""
    mode = BLENDS[config.method]
    rows, columns = place.size
    fitting = (CPU_PIECE_VALUES if mode.masked else CPU_PIECE_BYTES) // (3 * rows * columns)
    return max(1, min(-(-n_frames // torch.get_num_threads()), fitting))


def _upright(windows: Tensor, turn: Turn, longer_side: int) -> Tensor:
    """Faces at the generator's size from the windows around them, of which boxes have so long a side."""
    if longer_side > SEEN_WHOLE_PX:
        height, width = (max(1, round(side * SEEN_WHOLE_PX / longer_side)) for side in windows.shape[2:])
        windows = reduce_bytes(windows, (height, width))
    return to_float(turn.upright(windows, (FACE_SIZE, FACE_SIZE), mode="bilinear"))


def _windows(rects: Sequence[Aslant], alike: Sequence[int], frames: Tensor) -> tuple[Rect, ...]:
    """Where to read and write: the boxes of upright heads, as `crop_faces` does, so that they are sent up once a batch,
    and windows around the masks of those that are turned, of one size where they are numbered alike.
    """
    windows, size = [r.box for r in rects], (frames.shape[2], frames.shape[3])
    members: dict[int, list[int]] = {}
    for i, number in enumerate(alike):
        if rects[i].tilt:
            members.setdefault(number, []).append(i)
    for chosen in members.values():
        around = windows_around([rects[i] for i in chosen], size)
        for i, window in zip(chosen, of_one_size(around, size), strict=True):
            windows[i] = window
    return tuple(windows)
