"""Tilted heads through the stages: in each layout of frames, at the frame's edge, and in the tools that judge."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout, Yuv420Frames
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.judging.comparison import compare
from gpu_lipsync.judging.talking_clip import read_clip
from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.tilted import Aslant, upright_view
from gpu_lipsync.progress import Silent
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.mouth_landmarks import lips_apart
from gpu_lipsync.video import open_video
from tests import pictures
from tests.clips import tone, write_clip, write_sound
from tests.heads import held_still
from tests.places import FACE
from tests.reports import fresh_report
from tests.scripted_faces import NO_PADS, ScriptedDetector, scripted_frames

CPU = torch.device("cpu")
CONFIG = BlendConfig(mouth_region_size=0.4)


class Swapped(nn.Module):
    """Each face with its red and its blue exchanged."""

    def forward(self, mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
        return faces.flip(1)


def sample_frames(layout: FrameLayout, n: int) -> Tensor:
    planes = layout is not RGB
    with open_video(FACE, FrameConfig(), CPU, as_decoded=planes) as video:
        return torch.cat([frames for _, frames in video.batches(range(n), 4)])


@pytest.mark.parametrize("method", ["ellipse", "original"])
@pytest.mark.parametrize("layout", [RGB, Yuv420Frames("bt709")], ids=["RGB", "4:2:0"])
def test_a_batch_of_upright_and_tilted_heads(layout: FrameLayout, method: str) -> None:
    """As if cut out of the whole frames by hand; only what surrounds the masks is touched."""
    frames = sample_frames(layout, 4)
    size = layout.size(frames)
    # One reaches out of the frame, one begins at odd pixels, one's middle lies between pixels.
    boxes = torch.tensor([[170, 110, 340, 340], [171, 113, 330, 347], [171, 131, 274, 280], [-20, -31, 240, 300]])
    tilts, fits = torch.tensor([0, 33.0, 36.46, 61], dtype=torch.float64), torch.tensor([[2, 3, 18]] * 4)
    config = replace(CONFIG, method=method)
    heads = replace(held_still(boxes), tilts=tilts, fits=fits)
    whole = layout.part(frames, torch.tensor([[0, 0, size[1], size[0]]] * 4))
    faces = crop_faces(whole.rgb, boxes, tilts=tilts)
    expected = paste_faces(whole.rgb, faces.flip(1), boxes, config, fits=fits, tilts=tilts)
    renderer = MouthRenderer(Swapped(), config, fresh_report(8), Silent(), layout=layout)
    source = frames.clone()
    synced = renderer.render(frames, torch.zeros(4, 1, 80, 16), heads)
    found = layout.part(synced, torch.tensor([[0, 0, size[1], size[0]]] * 4)).rgb
    off = (found.int() - expected.int()).abs().float()
    if layout is RGB:
        assert off.max() <= 1  # windows of other sizes: other roundings
    else:  # four pixels share a colour, and red has become blue
        assert off.mean() < 0.5 and (found != whole.rgb).any(dim=(1, 2, 3)).all()
    for i in range(4):  # alone, too: what is read around others does not help out
        alone = MouthRenderer(Swapped(), config, fresh_report(8), Silent(), layout=layout)
        one = alone.render(source[i : i + 1].clone(), torch.zeros(1, 1, 80, 16), heads.picked([i]))
        assert (one.int() - synced[i].int()).abs().max() <= (1 if layout is RGB else 3)
    for before, after, (x1, y1, x2, y2) in zip(source, synced, heads.surroundings(size).tolist(), strict=True):
        picture = (before != after).any(0) if layout is RGB else (before != after)[: size[0]]
        rows, columns = picture.nonzero().unbind(1)
        assert x1 <= columns.min() and columns.max() < x2 and y1 <= rows.min() and rows.max() < y2


@pytest.mark.parametrize("layout", [RGB, Yuv420Frames("bt709")], ids=["RGB", "4:2:0"])
def test_a_mask_beyond_the_frame_changes_nothing(layout: FrameLayout) -> None:
    """With large pads the mouth may come to lie there, though the box does not."""
    frames = sample_frames(layout, 1)
    heads = replace(held_still(torch.tensor([[150, 300, 300, 700]])), tilts=torch.tensor([30.0]).double())
    renderer = MouthRenderer(Swapped(), BlendConfig(mouth_region_size=0.1), fresh_report(1), Silent(), layout=layout)
    assert torch.equal(renderer.render(frames.clone(), torch.zeros(1, 1, 80, 16), heads), frames)


@pytest.mark.parametrize(("x", "tilt", "is_there"), [(32.0, 90.0, False), (32.0, -90.0, True), (90.0, 90.0, True)])
def test_a_mouth_beyond_the_frame_s_edge_is_found_where_it_lies(x: float, tilt: float, is_there: bool) -> None:
    """Of a face on its side that is cut by the left edge: the chin is there, or the forehead."""
    script = [[(x, 240.0, 140.0, 100.0, tilt)]] * 10
    tracker = FaceTracker(ScriptedDetector(script), FaceConfig(pads=NO_PADS))  # type: ignore[arg-type]
    tracker.push(scripted_frames(10))
    tracker.finish()
    heads = tracker.heads(0, 10)
    assert len(heads.with_face()) == (10 if is_there else 0)
    # Those that are turned keep their shape, and are whole beyond the edge.
    assert not is_there or (heads.boxes[:, 2] - heads.boxes[:, 0] == round(140 / 1.4)).all()
    assert tracker.frames_without_face == (0 if is_there else 10)


def test_what_is_seen_upright_is_the_frame_where_it_is() -> None:
    frame = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rect, box = (20, 30, 60, 62), (18, 28, 62, 64)
    assert torch.equal(upright_view(frame, Aslant(rect, box, 0.0)), frame[:, 30:62, 20:60])
    # On its side, clockwise: its top is on the right. The middle of the box, (40, 46), stays.
    on_its_side = upright_view(frame, Aslant(rect, box, 90.0))
    assert torch.equal(on_its_side, torch.rot90(frame[:, 26:66, 24:56], 1, dims=(1, 2)))


def test_what_is_aslant_is_seen_upright_as_opencv_does() -> None:
    face = pictures.face_like(320, 320, seed=3)
    rect, box, tilt = Rect(90, 100, 190, 220), Rect(80, 90, 200, 230), 30.0
    seen = upright_view(torch.from_numpy(face).permute(2, 0, 1).contiguous(), Aslant(rect, box, tilt))
    # Through the middles of pixels: OpenCV counts them from 0, and turns the other way.
    turn = cv2.getRotationMatrix2D(((80 + 200 - 1) / 2, (90 + 230 - 1) / 2), tilt, 1.0)
    upright = cv2.warpAffine(face.astype(np.float32), turn, (320, 320), flags=cv2.INTER_CUBIC)
    off = np.abs(seen.permute(1, 2, 0).numpy() - upright[100:220, 90:190].clip(0, 255))
    assert off.mean() < 1 and off.max() < 24  # OpenCV takes places to a 32nd of a pixel, on edges of 200 levels


@pytest.fixture(scope="module")
def turned_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's beginning, its head turned by 40 degrees to the left."""
    path = tmp_path_factory.mktemp("tilted") / "turned.mp4"
    with av.open(str(FACE)) as container:
        seen = [frame.to_ndarray(format="rgb24") for _, frame in zip(range(40), container.decode(video=0))]  # noqa: B905
    height, width = seen[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 40, 1.0)
    turned = [cv2.warpAffine(p, turn, (width, height), borderMode=cv2.BORDER_REPLICATE) for p in seen]
    return write_clip(
        path,
        n_frames=40,
        size=(height, width),
        picture=lambda i, *_: turned[i],
        options={"crf": "10"},
        fps=Fraction(25),
    )


def test_a_tilted_clip_is_judged_as_the_upright_one(turned_clip: Path, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(1.6))
    mesh = load_face_mesh()
    upright, tilted = (read_clip(path, CPU, audio=sound, max_seconds=1.5) for path in (FACE, turned_clip))
    with torch.inference_mode():
        gaps = [lips_apart(mesh(clip.contexts.images.float() / 255)) for clip in (upright, tilted)]
        # Its own mouths put back where they were: the landmarks find them there, and not a face aslant in another.
        again = lips_apart(mesh(tilted.contexts.with_mouths(tilted.faces.float() / 255)))
    assert (gaps[0] - gaps[1]).abs().max() < 0.02
    assert (again - gaps[1]).abs().max() < 0.03


def test_a_tilted_head_is_compared_upright(turned_clip: Path) -> None:
    with torch.inference_mode(), open_video(turned_clip, FrameConfig(), CPU) as video:
        found = compare(
            video,
            torch.zeros(20, 1, 80, 16),
            load_face_detector(),
            Swapped(),
            moments=1,
            max_seconds=1.0,
            settings=CONFIG,
        )
    (still,) = found.stills
    changed = (still.source != still.modes["ellipse"]).any(0)
    rows, columns = changed.nonzero().unbind(1)
    height, width = changed.shape
    # An upright ellipse at its place: in the middle, below, wider than tall; the face with a margin around.
    assert abs(float(columns.float().mean()) / width - 0.5) < 0.08 and 0.55 < float(rows.float().mean()) / height < 0.75
    pasted, wanted = (
        of[:, height // 4 : height * 3 // 4, width // 4 : width * 3 // 4].int()
        for of in (still.modes["original"], still.source.flip(0))
    )
    assert (pasted - wanted).abs().float().mean() < 8, "the generator saw it upright, too; levels of softness"
    assert 0.3 < found.figures["ellipse"].mean_detail < 1 < found.figures["hd"].mean_detail  # 96 px for 160
