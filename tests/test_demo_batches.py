"""Training batches: the sound that goes with the mouth, everybody as often, the same work for any number of faces."""

import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools import picture_variety, retrain_hearing
from gpu_lipsync.tools.demo_batches import BatchMaker
from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.picture_variety import (
    BOX,
    PRESSED_MOST,
    TILT,
    TURN,
    morphed,
    pressed,
    recoloured,
    stretched,
    views,
)
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, pixel_grid, sample
from gpu_lipsync.tools.talks import COLUMNS_PER_S, LIPS_LEAD_S, MEL_COLUMNS, MOMENTS_S, TRACK_HZ, Talks, lips_ahead
from tests.residency import fake_cuda, watched
from tests.talkers import sample_faces, small_material, talk


def test_sound_and_mouth_are_of_the_same_talk_and_moment() -> None:
    talks = Talks.joined([talk(0, 1.0), talk(1, 2.5), talk(2, 0.7)])
    which = torch.tensor([0, 1, 2, 1, 2])
    mel, mouth = talks.windows(which, torch.tensor([0.0, 0.0, 0.0, 0.5, 0.999]))
    assert mel.shape == (5, 1, 80, MEL_COLUMNS) and mouth.shape == (5, len(MOMENTS_S), 4)
    first = mel[:, 0, 0, 0]
    assert torch.equal(mel[:, 0, 7] - first[:, None], torch.arange(MEL_COLUMNS).float().expand(5, -1)), "consecutive"
    assert first.tolist() == [0, 1000, 2000, 1092, 2039]
    seconds = first % 1000 / COLUMNS_PER_S
    expected = ((seconds[:, None] + torch.tensor(MOMENTS_S)) * TRACK_HZ).clamp(min=0)
    assert (mouth[..., 0] - which[:, None] * 10000 - expected).abs().max() <= 1  # whole moments


def test_whoever_speaks_four_times_as_much_is_heard_twice_as_often() -> None:
    talks = Talks.joined([talk(0, 3.0, "much"), talk(1, 1.0, "little"), talk(2, 1.0, "much")])
    much, little, also = talks.chances.tolist()
    assert (much + also) / little == pytest.approx(2) and much / also == pytest.approx(3)


@pytest.fixture(scope="module")
def material() -> dict[str, Any]:
    return small_material()


def test_batches_are_seeded_and_fit_to_train_on(material: dict[str, Any], device: str) -> None:
    maker = BatchMaker(material, device=torch.device(device))
    maker.seed(5)
    batch = maker.batch(8)
    maker.seed(5)
    again = maker.batch(8)
    for name, value in vars(batch).items():
        assert value.device.type == device and value.isfinite().all()
        assert torch.equal(value, getattr(again, name)), f"{name} is not the seed's"
    assert batch.mel.shape == (8, 1, 80, 16) and batch.mel.abs().max() <= 4
    assert batch.faces.shape == batch.reference.shape == (8, 3, 96, 96)
    assert batch.faces.min() >= 0 and batch.faces.max() <= 1
    assert batch.mouth_known.tolist() == [1] * 6 + [0] * 2 and not batch.mouth[6:].any()


def test_heads_turn_within_their_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of the face goes aside by up to TURN of half a box, its edges stay, and nothing folds over."""
    seen = {}
    for turn in (0.0, TURN):
        monkeypatch.setattr(picture_variety, "TURN", turn)
        seen[turn], _ = views(Draws(torch.Generator().manual_seed(3)), 200)
    aside = (seen[TURN] - seen[0.0])[..., 0] / (BOX * CROP_PX / 2)
    middle = aside[:, 48, 40:56].mean(dim=1).abs()
    assert middle.max() > 0.8 * TURN and middle.median() < 0.46 * TURN, "half of all within 0.5 ** 1.3 = 0.41 of it"
    on_the_edge = ((seen[0.0] - (CROP_PX / 2 - 0.5)) / (BOX * CROP_PX / 2))[..., 0].abs() > 0.99
    assert aside[on_the_edge].abs().max() <= 0.02 * TURN + 1e-5, "1 - 0.99 ** 2"
    along = seen[TURN][..., 0].diff(dim=2) * seen[0.0][:, :1, -1:, 0].sub(seen[0.0][:, :1, :1, 0]).sign()
    assert (along > 0).float().mean() > 0.99, "a fold shows a cheek twice"


def test_heads_tilt_and_the_reference_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles of the eyes' row, left to right: spread as TILT says, at most twice that; the pair alike."""
    for others in ("TURN", "NOD", "BEND"):
        monkeypatch.setattr(picture_variety, others, 0.0)
    both = views(Draws(torch.Generator().manual_seed(4)), 500)
    ends = torch.stack([view[:, 40, -1] - view[:, 40, 0] for view in both])
    angles = torch.atan2(ends[..., 1], ends[..., 0].abs())  # some are mirrored
    assert 0.85 * TILT < angles[0].std() < 1.05 * TILT, "a normal's spread, held at two deviations: 0.96"
    assert angles.abs().max() < 2 * TILT + 0.13, "and four of the shear's 0.03"
    beside = (angles[1] - angles[0]).abs()
    assert beside.quantile(0.85) < 1e-5 and 0.01 < beside.max() < 0.15, "nine in ten are the same view"


def test_blurred_pictures_lose_their_finest_detail_in_both_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one pixel, whose contrast two means of 25 pixels take down to 1/625; some lose less."""
    checks = ((pixel_grid(1).sum(dim=3) % 2 < 1).float() * 0.4 + 0.3)[:, None, None, :96, :96].expand(64, 2, 3, -1, -1)
    contrast = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(picture_variety, "BLURRED", share)
        pictures = recoloured(Draws(torch.Generator().manual_seed(2)), checks)
        assert torch.equal(pictures[:, 0], pictures[:, 1])
        contrast[share] = pictures[:, 0].diff(dim=3).abs().mean(dim=(1, 2, 3))
    left = contrast[1.0] / contrast[0.0]
    assert left.max() < 1.0 and left.min() < 0.05 and 0.3 < left.median() < 0.7, "by as much as a uniform draw says"


def test_mouths_grow_in_their_middle_alone() -> None:
    """By 1 / (1 - share), as the docstring says; eyes stay where they are, and nothing folds over."""
    points = pixel_grid(3)
    corners = torch.tensor([[[44.0, 84.0], [84.0, 84.0]]]).expand(3, -1, -1)
    wider, higher = torch.tensor([0.0, 0.3, -0.3]), torch.tensor([0.5, 0.0, -0.1])
    moved = stretched(points, corners, wider, higher)
    at_centre = moved[:, 86:89, 63:66] - moved[:, 85:88, 62:65]  # across and down by a pixel; the centre lies at 64, 87
    expected = 1 - torch.stack((wider, higher), dim=1)
    torch.testing.assert_close(at_centre.mean(dim=(1, 2)), expected, rtol=0, atol=0.02)  # half a pixel off the centre
    assert (moved - points)[:, :40].abs().max() < 0.1, "a tenth of a pixel is not seen"
    assert (moved[..., 0].diff(dim=2) > 0).all() and (moved[..., 1].diff(dim=1) > 0).all()


def test_lips_are_pressed_where_they_are_shut_and_there_alone() -> None:
    """Within a lip's height of the line between them; the nose's base and the chin, a half mouth away, hardly move."""
    opening = torch.tensor([0.0, 0.04, 0.06, 0.5]).repeat(500)
    higher = pressed(Draws(torch.Generator().manual_seed(1)), opening, 0.5)
    shut = opening < 0.05
    assert not higher[~shut].any() and -PRESSED_MOST <= higher.min() < -0.9 * PRESSED_MOST
    assert abs(float((higher[shut] < 0).float().mean()) - 0.5) < 0.05, "1000 draws, three standard deviations"
    points, corners = pixel_grid(1), torch.tensor([[[44.0, 84.0], [84.0, 84.0]]])
    down = (stretched(points, corners, torch.zeros(1), torch.tensor([-PRESSED_MOST])) - points)[0, :, 64, 1]
    assert down[87 + 6] > 0.4 * 6, "what lay six pixels below the line is seen at four"
    assert max(down[87 + 24].abs(), down[87 - 24].abs()) < 0.4, "beyond a half mouth and a fifth, in pixels"
    assert (down.diff() > -1).all(), "a fold"


def test_two_people_meet_at_eyes_and_mouth() -> None:
    """The second is a picture of its own coordinates: what is seen at the first's eyes says where it comes from."""
    one = sample_faces(1)
    ramp = pixel_grid(1).permute(0, 3, 1, 2) / CROP_PX
    other = Faces(
        crops=torch.cat((ramp, ramp[:, :1]), dim=1),
        corners=torch.tensor([[[47.0, 88.0], [80.0, 83.0]]]),
        eyes=torch.tensor([[[40.0, 51.0], [77.0, 45.0]]]),
        lips=one.lips,
    )
    seen = morphed(one, other, torch.ones(1)).crops[:, :2]
    for ours, theirs in ((one.eyes, other.eyes), (one.corners.mean(1, True), other.corners.mean(1, True))):
        found = sample(seen, ours[:, None])[:, :, 0].transpose(1, 2) * CROP_PX
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-2)  # a ramp is bilinear; float32


def test_everybody_comes_as_often_as_anybody(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    share = torch.bincount(maker._stills(4000), minlength=3) / 4000
    assert abs(float(share[2]) - 0.5) < 0.03  # person b's only still; three standard deviations
    assert abs(float(share[1] / share[0]) - 0.35 / 0.15) < 0.4, "open mouths more often: gaps and 0.05"
    assert len(maker.crops) == 20, "who is kept out is not even there"


def test_an_ear_is_retrained_and_the_face_left_alone(
    material: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    start = {k: v for k, v in Wav2Lip(0.25).state_dict().items() if "num_batches" not in k}
    start = {k: v.half() if ".conv_block.0." in k else v for k, v in start.items()}
    save_file(start, tmp_path / "start.safetensors")
    torch.save(material, tmp_path / "material.pt")
    monkeypatch.setattr(retrain_hearing, "FIT_STEPS", 20)
    monkeypatch.setattr(retrain_hearing, "KNOWN_BATCHES", 1)
    files = [tmp_path / f"{i}.safetensors" for i in range(2)]
    options = ["--material", str(tmp_path / "material.pt"), "--start", str(tmp_path / "start.safetensors"), "--quiet"]
    for file in files:
        monkeypatch.setattr(sys, "argv", ["x", *options, "--out", str(file), "--steps", "6", "--batch", "8"])
        retrain_hearing.main()
    first, again = map(load_file, files)
    assert first.keys() == start.keys()
    for name, tensor in first.items():
        assert tensor.dtype == start[name].dtype and torch.equal(tensor, again[name]), f"{name} is not the seed's"
        heard = name.startswith("audio_encoder.")
        assert torch.equal(tensor, start[name]) != heard, name


def test_lips_move_ahead_of_phonemes() -> None:
    mouth = torch.arange(400.0).expand(4, -1)
    ahead = lips_ahead(mouth)
    lead = round(LIPS_LEAD_S * TRACK_HZ)
    assert lead == 4 and torch.equal(ahead, mouth[:, lead:])
    assert ahead.untyped_storage().nbytes() == ahead.nbytes, "torch.save would write the part that was left out"


def test_new_voices_do_not_say_what_codes_mean(material: dict[str, Any]) -> None:
    known = retrain_hearing.without_voices(material, {"b", "espeak"})
    assert [voice for _, _, voice in known["real_talks"]] == ["a"] and known["talks"] == []
    assert len(known["clips"]) == len(material["clips"])


def test_codes_are_read_as_the_mouths_they_were_made_of() -> None:
    torch.manual_seed(0)
    mouths = torch.rand(2000, retrain_hearing.N_MOUTH)
    codes = (mouths @ torch.randn(retrain_hearing.N_MOUTH, 40)).relu() + 0.5
    meaning = retrain_hearing.Codes(codes, mouths)
    off = (meaning.mouths(codes) - mouths).square().mean() / mouths.var()
    assert off < 0.25  # the ReLU keeps a straight reading from all of it
    shuffled = codes[torch.randperm(len(codes))]
    assert meaning.unusual(codes, mouths) < 0.3 * meaning.unusual(shuffled, mouths)


def test_a_large_batch_is_no_more_operations_than_a_small_one(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    maker.batch(8)
    few, many = (watched(lambda n=n: maker.batch(n)).operations for n in (8, 64))
    assert len(few) == len(many) > 100


def test_batches_are_made_on_the_device_alone(material: dict[str, Any]) -> None:
    """Nothing waits for a GPU or is copied there, so that a step of training can be recorded and replayed."""
    on_the_host = BatchMaker(material, device=torch.device("cpu"))
    with fake_cuda():
        maker = BatchMaker.__new__(BatchMaker)  # as the other, of tensors without values; a CUDA generator needs a GPU
        for name, value in vars(on_the_host).items():
            setattr(maker, name, on_fake_cuda(value))
        maker.device, maker.draws = torch.device("cuda"), Draws(None)  # type: ignore[arg-type]
        maker.batch(8)  # constants are brought there
        made = watched(lambda: maker.batch(64))
    assert len(made.operations) > 1000 and made.offences == [] and made.of_the_host == []


def on_fake_cuda(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="cuda")
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: on_fake_cuda(getattr(value, field.name)) for field in fields(value)})
    return value
