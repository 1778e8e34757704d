"""A batch through crop, generator and blend: whose sound makes which mouth; without faces, and without memory."""

from dataclasses import replace
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.faces import paste_faces
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.pasting.heads import Heads, Pose
from gpu_lipsync.progress import Silent
from tests.heads import held_still
from tests.reports import Listener, fresh_report

BOX = [40, 30, 120, 130]
NEAR, FAR = [20, 10, 150, 158], [40, 30, 88, 78]  # as large a feather is more of a smaller face
PLAIN = BlendConfig(method="original")
FEATHERED = BlendConfig(mouth_region_size=0.4, blur_intensity=9)


class Red(nn.Module):
    """Paints every mouth red; runs out of memory above `limit` frames."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        self.limit = limit
        self.sizes: list[int] = []

    def forward(self, mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
        if len(mel) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(mel))
        return torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand_as(faces)


class Loud(nn.Module):
    """A mouth as bright as its window is loud."""

    def forward(self, mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
        return mel.mean((1, 2, 3)).clamp(min=0)[:, None, None, None].expand_as(faces).clone()


class Own(nn.Module):
    """Gives each face its own mouth back."""

    def forward(self, mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
        return faces.clone()


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Of one colour: grey faces would have grey mouths."""
    frames = torch.tensor([120, 100, 80], dtype=torch.uint8).view(1, 3, 1, 1).repeat(n, 1, 160, 160)
    return frames, torch.zeros(n, 1, 80, 16)


def heads(boxes: list[list[int]]) -> Heads:
    return held_still(torch.tensor(boxes))


def mouths_in(frames: Tensor) -> Tensor:
    """(B,) levels of what is in BOX."""
    x1, y1, x2, y2 = BOX
    return frames[:, :, y1:y2, x1:x2].float().mean((1, 2, 3))


def test_out_of_memory_halves_the_batch_once_per_level_and_says_so() -> None:
    generator, report, listener = Red(limit=3), fresh_report(16), Listener()
    renderer = MouthRenderer(generator, BlendConfig(method="original"), report, listener)
    for _ in range(2):
        synced = renderer.render(*batch(16), heads([BOX] * 16))
        assert (synced[:, 0, 30:130, 40:120] == 255).all()
    assert listener.lines == report.notes
    assert [line.rsplit(" ", 1)[1] for line in report.notes] == ["8", "4", "2"]
    assert set(generator.sizes) == {2}  # and stays there
    assert (report.n_frames, report.n_generated) == (32, 32)


def test_out_of_memory_with_one_frame_is_not_answered_here() -> None:
    renderer = MouthRenderer(Red(limit=0), BlendConfig(), fresh_report(4), Silent())
    with pytest.raises(torch.OutOfMemoryError):  # whose answer is the pipeline's: test_out_of_memory.py
        renderer.render(*batch(4), heads([BOX] * 4))


def test_each_frame_rests_as_far_as_its_own_sound_says() -> None:
    """Two batches, each frame's share of the resting mouth another; spoken mouths are white, resting ones black.

    Every third frame has no face, and counts all the same.
    """
    weights, places = [i / 16 for i in range(16)], [[0] * 4 if i % 3 == 2 else BOX for i in range(16)]
    renderer = MouthRenderer(Loud(), PLAIN, fresh_report(8), Silent(), rest_weights=weights)
    seen = [renderer.render(batch(8)[0], torch.ones(8, 1, 80, 16), heads(places[i : i + 8])) for i in (0, 8)]
    expected = torch.tensor([100 if i % 3 == 2 else 255 * (1 - weight) for i, weight in enumerate(weights)])
    torch.testing.assert_close(mouths_in(torch.cat(seen)), expected, atol=0.51, rtol=0)  # 8 bits


def test_each_face_says_the_sound_of_its_own_frame() -> None:
    """Though others of the batch have no face."""
    mel = (torch.arange(6.0) / 8)[:, None, None, None].expand(6, 1, 80, 16)
    nobody = [0] * 4
    known = heads([BOX, nobody, BOX, nobody, nobody, BOX])
    synced = MouthRenderer(Loud(), PLAIN, fresh_report(8), Silent()).render(batch(6)[0], mel, known)
    expected = torch.tensor([0, 100, 255 * 2 / 8, 100, 100, 255 * 5 / 8])
    torch.testing.assert_close(mouths_in(synced), expected, atol=0.51, rtol=0)  # 8 bits


def test_of_a_picture_the_generator_gets_one_face_for_all_that_it_says() -> None:
    """Not so of a clip that happens to hold still: frames that look the same are not looked at."""
    given: list[tuple[int, int]] = []

    class Counted(nn.Module):
        def forward(self, mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
            given.append((len(mel), len(faces)))
            return mel.mean((1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 3, 96, 96).clone()

    mel, clip = (torch.arange(4.0) / 8)[:, None, None, None].expand(4, 1, 80, 16), heads([BOX] * 4)
    shown = {"picture": replace(clip, frames=(5,) * 4), "clip": clip, "half": replace(clip, frames=(5, 5, 6, 6))}
    for known in shown.values():
        synced = MouthRenderer(Counted(), PLAIN, fresh_report(8), Silent()).render(batch(4)[0], mel, known)
        torch.testing.assert_close(mouths_in(synced), torch.arange(4.0) * 255 / 8, atol=0.51, rtol=0)  # 8 bits
    assert given == [(4, 1), (4, 4), (4, 4)]
    weights = [0.0, 0.5, 1.0, 1.0]  # two spoken ones, and the resting one of the pause
    renderer = MouthRenderer(Counted(), PLAIN, fresh_report(8), Silent(), rest_weights=weights)
    renderer.render(batch(4)[0], mel, shown["picture"])
    assert given[3:] == [(3, 1)]


def test_resting_mouths_know_the_scene_and_the_pose() -> None:
    """Of eight frames in a pause the first and the sixth get a mouth of their own, and who is elsewhere another."""

    def rendered(**changed: tuple[object, ...]) -> tuple[list[int], int]:
        frames = (torch.arange(8, dtype=torch.uint8) * 10)[:, None, None, None].expand(8, 3, 160, 160).contiguous()
        report = fresh_report(8)
        renderer = MouthRenderer(Own(), PLAIN, report, Silent(), rest_weights=[1.0] * 8)
        synced = renderer.render(frames, batch(8)[1], replace(heads([BOX] * 8), **changed))  # type: ignore[arg-type]
        return mouths_in(synced).round().int().tolist(), report.n_generated

    still, n_still = rendered()
    assert n_still == 2 and still[:5] == [0] * 5
    after_a_cut, n_cut = rendered(scenes=(1,) * 4 + (2,) * 4)
    assert n_cut == 2 and after_a_cut == [0] * 4 + [40] * 4
    moved, n_moved = rendered(poses=(Pose(48, 69),) * 3 + (Pose(50, 69),) * 5)
    assert n_moved == 2 and moved == [0] * 3 + [30] * 5
    assert rendered(poses=(None,) * 8) == ([i * 10 for i in range(8)], 8)


def test_fades_are_no_silence() -> None:
    report = fresh_report(8)
    weights = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    MouthRenderer(Loud(), PLAIN, report, Silent(), rest_weights=weights).render(*batch(6), heads([BOX] * 6))
    assert (report.n_frames_in_silence, report.n_generated) == (2, 5)


@pytest.mark.parametrize("stage", ["paste", "count"])
def test_a_batch_begun_again_finds_the_pause_as_it_was(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory after the generator, in the second batch: the resting mouths must not be those that the failed
    attempt had come to, but the first batch's.
    """
    frames = torch.arange(24, dtype=torch.uint8)[:, None, None, None].expand(24, 3, 160, 160).contiguous() * 10
    known, mel = heads([BOX] * 24), torch.zeros(24, 1, 80, 16)

    def rendered(size: int) -> Tensor:
        report = fresh_report(size)
        renderer = MouthRenderer(Own(), PLAIN, report, Silent(), rest_weights=[1.0] * 24)
        batches = (slice(0, 8), slice(8, 24))
        synced = [renderer.render(frames[b], mel[b], known.picked(range(24)[b])) for b in batches]
        assert report.batch_size == 8, "from the start, or since memory ran out"
        return torch.cat(synced)

    expected = rendered(8)
    paste, finite = paste_faces, Tensor.isfinite

    def out_of_memory(*_: object) -> NoReturn:
        monkeypatch.setattr(Tensor, "isfinite", finite)
        raise torch.OutOfMemoryError("CUDA out of memory")

    def only_eight(frames: Tensor, *others: object, **how: object) -> Tensor:
        if len(frames) > 8 and stage == "paste":
            out_of_memory()
        pasted = paste(frames, *others, **how)  # type: ignore[arg-type]
        if len(frames) > 8:  # the batch's last step counts what is not a number
            monkeypatch.setattr(Tensor, "isfinite", out_of_memory)
        return pasted

    monkeypatch.setattr("gpu_lipsync.generate.paste_faces", only_eight)
    assert torch.equal(rendered(16), expected)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(nn.Module):
        def forward(self, *_: Tensor, window: object = None) -> Tensor:
            raise RuntimeError("a bug")

    renderer = MouthRenderer(Broken(), BlendConfig(), fresh_report(4), Silent())
    with pytest.raises(RuntimeError, match="a bug"):
        renderer.render(*batch(4), heads([BOX] * 4))


def test_only_frames_with_a_face_are_touched() -> None:
    report, generator = fresh_report(8), Red()
    frames, mel = batch(4)
    known = heads([BOX, [0, 0, 0, 0], BOX, [5, 5, 15, 15]])  # the last is too small to have a mouth
    synced = MouthRenderer(generator, BlendConfig(method="original"), report, Silent()).render(frames, mel, known)
    assert torch.equal(synced[1::2], frames[1::2])
    assert (synced[::2, 0, 30:130, 40:120] == 255).all()
    assert torch.equal(synced[::2, :, :30], frames[::2, :, :30])
    assert (report.n_frames_without_face, generator.sizes) == (2, [2])


def test_a_batch_without_faces_costs_nothing() -> None:
    report, generator = fresh_report(8), Red()
    frames, mel = batch(3)
    synced = MouthRenderer(generator, BlendConfig(), report, Silent()).render(frames, mel, heads([[0] * 4] * 3))
    assert torch.equal(synced, frames)
    assert generator.sizes == []


class Windowed(nn.Module):
    """Paints its window, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, object]] = []

    def forward(self, mel: Tensor, faces: Tensor, *, window: tuple[int, int, int, int] | None = None) -> Tensor:
        self.seen.append((len(mel), window))
        top, bottom, left, right = window or (0, 96, 0, 96)
        made = torch.zeros_like(faces)
        made[:, :, top:bottom, left:right] = 1.0
        return made


def test_in_pauses_too_only_the_part_that_shows_is_generated() -> None:
    """And a face that shrinks, of which the feather then shows more, never gets a resting mouth that lacks it."""
    known = heads([NEAR] * 8 + [FAR] * 8)
    generator, report, config = Windowed(), fresh_report(4), FEATHERED
    renderer = MouthRenderer(generator, config, report, Silent(), rest_weights=[1.0] * 16)
    frames, mel = batch(16)
    for i in range(0, 16, 4):
        synced = renderer.render(frames[i : i + 4], mel[i : i + 4], known.picked(range(i, i + 4)))
        expected = paste_faces(frames[i : i + 4], torch.ones(4, 3, 96, 96), known.boxes[i : i + 4], config)
        assert torch.equal(synced, expected)
    assert len({window for _, window in generator.seen}) == 2, "it has grown"
    sizes = [(w[1] - w[0]) * (w[3] - w[2]) for _, w in generator.seen]  # type: ignore[index]
    assert max(sizes) < 0.6 * 96 * 96 and report.n_generated < 8


def test_the_part_that_is_generated_is_where_the_masks_are_fitted() -> None:
    """To mouths that are not where most faces have theirs; with the mask of those the window would miss some."""
    known = replace(heads([NEAR] * 2), fits=torch.tensor([[-9, 8, 30], [9, -8, 12]]))
    synced = MouthRenderer(Windowed(), FEATHERED, fresh_report(2), Silent()).render(*batch(2), known)
    whole = torch.ones(2, 3, 96, 96)
    assert torch.equal(synced, paste_faces(batch(2)[0], whole, known.boxes, FEATHERED, fits=known.fits))


def test_on_cuda_windows_only_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new size of layers costs cuDNN a plan, and a CPU nothing."""
    needed = Window(50, 90, 20, 70)
    monkeypatch.setattr("gpu_lipsync.generate.mouth_window", lambda *_, **__: needed)
    renderer = MouthRenderer(Windowed(), BlendConfig(), fresh_report(4), Silent())
    renderer._window = Window(40, 80, 24, 76)
    boxes, fits = torch.tensor([BOX]), torch.zeros(1, 3, dtype=torch.int64)
    windows = {kind: renderer._window_of(boxes, fits, torch.device(kind))[0] for kind in ("cuda", "cpu")}
    assert windows == {"cuda": Window(40, 90, 20, 76), "cpu": needed}


def test_a_window_that_has_grown_when_memory_runs_out_grows_again() -> None:
    """The batch is done again with the resting mouths as they were, which lack what the larger window shows."""

    class Short(Windowed):
        def forward(self, mel: Tensor, faces: Tensor, *, window: tuple[int, int, int, int] | None = None) -> Tensor:
            if len(self.seen) == 1:  # after the first batch, once
                self.seen.append((0, None))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(mel, faces, window=window)

    config, listener = FEATHERED, Listener()
    renderer = MouthRenderer(Short(), config, fresh_report(2), listener, rest_weights=[1.0] * 4)
    frames, mel = batch(4)
    known = heads([NEAR] * 2 + [FAR] * 2)
    for i in (0, 2):
        synced = renderer.render(frames[i : i + 2], mel[i : i + 2], known.picked(range(i, i + 2)))
        assert torch.equal(
            synced, paste_faces(frames[i : i + 2], torch.ones(2, 3, 96, 96), known.boxes[i : i + 2], config)
        )
    assert len(listener.lines) == 1
