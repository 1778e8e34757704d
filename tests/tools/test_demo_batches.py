"""Training batches: the sound that goes with the mouth, everybody as often, the same work for any number of faces."""

import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools import demo_batches, retrain_hearing
from gpu_lipsync.tools.demo_batches import PURSED_MOST, TOOTHLESS, WIDE_SHARE, WIDEST_OF, BatchMaker, mouth_region
from gpu_lipsync.tools.demo_learner import loss_weights
from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.heard_mouth import HeardMouth
from gpu_lipsync.tools.picture_variety import BOX, views
from gpu_lipsync.tools.synthetic_talkers import CROP_PX
from gpu_lipsync.tools.talks import COLUMNS_PER_S, LIPS_LEAD_S, MEL_COLUMNS, MOMENTS_S, TRACK_HZ, Talks, lips_ahead
from gpu_lipsync.tracking.mouth_landmarks import LOWER_LIP, MOUTH_CORNERS
from tests.residency import fake_cuda, watched
from tests.talkers import small_material, talk


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


def test_wide_mouths_are_said_more_often_than_they_come(
    material: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A talk whose mouth opens from its beginning to its end; a tenth of its windows is in its last tenth."""
    opening = [talk(1, 20.0)]
    maker = BatchMaker(material | {"talks": opening, "real_talks": opening}, device=torch.device("cpu"))
    monkeypatch.setattr(demo_batches, "SILENT_SHARE", 0.0)
    monkeypatch.setattr(demo_batches, "roughened", lambda draws, mel: mel)
    mel, mouth = maker.speech(4000)
    at = (mel[:, 0, 0, 0] - 1000) / (20 * COLUMNS_PER_S - MEL_COLUMNS)
    expected = 0.1 * (1 - WIDE_SHARE) + (1 - 0.9**WIDEST_OF) * WIDE_SHARE
    assert abs(float((at > 0.9).float().mean()) - expected) < 0.026, "four standard deviations"
    assert abs(float((at < 0.1).float().mean()) - 0.1 * (1 - WIDE_SHARE)) < 0.018, "the others as they come"
    seconds = (mel[:, 0, 0, :1] - 1000) / COLUMNS_PER_S + torch.tensor(MOMENTS_S)
    assert (mouth[..., 0] - 10000 - (seconds * TRACK_HZ).clamp(min=0)).abs().max() <= 1, "each with its own sound"


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
    assert batch.region.shape == (8, 1, 96, 96) and batch.region.min() >= 0 and batch.region.max() <= 1
    assert batch.mouth_known.tolist() == [1] * 7 + [0] and not batch.mouth[7:].any()


def test_the_loss_looks_at_the_mouth_wherever_it_is_seen() -> None:
    """Its weight is greatest just below the middle of the mouth, on turned heads too; the brow's is least."""
    points, _ = views(Draws(torch.Generator().manual_seed(3)), 50)
    middle = torch.tensor([64.0, 86.0]).expand(50, -1)  # where mouths lie in crops
    region = mouth_region(points, middle)
    weights = loss_weights(region)
    assert weights.mean() == pytest.approx(1.0, abs=1e-5)  # float32 sums
    most = weights.flatten(1).argmax(dim=1)
    seen = points.flatten(1, 2)[torch.arange(50), most]
    off = seen - middle - torch.tensor([0.0, 0.02 * BOX * CROP_PX])
    assert off.norm(dim=1).max() < 2.0, "pixels of the crop; a turned head's cheek has them two to a pixel"
    assert most.remainder(96).float().std() > 5, "or no head was turned"
    torch.testing.assert_close(weights[:, :, :10].amax(), weights.amin(), atol=0.05, rtol=0)  # the region's tail
    assert (weights.amax(dim=(1, 2, 3)) > 10 * weights.amin()).all()


def test_everybody_comes_as_often_as_anybody(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    share = torch.bincount(maker._stills(4000), minlength=3) / 4000
    assert abs(float(share[2]) - 0.5) < 0.03  # person b's only still; three standard deviations
    assert abs(float(share[1] / share[0]) - 0.35 / 0.15) < 0.4, "open mouths more often: gaps and 0.05"
    assert len(maker.crops) == 20, "who is kept out is not even there"


def test_who_is_wide_open_is_made_to_speak_more_often(material: dict[str, Any]) -> None:
    """The widest of three draws."""
    wider = material | {"gaps": torch.tensor([0.1, 0.3, 0.2])}
    maker = BatchMaker(wider, device=torch.device("cpu"))
    chosen = maker._widest(4000)
    plain = maker.still_chances / maker.still_chances.sum()
    smaller = [
        float(plain[k]) + sum(float(plain[j]) for j in range(3) if wider["gaps"][j] < wider["gaps"][k])
        for k in range(3)
    ]
    for k in range(3):
        expected = smaller[k] ** 3 - (smaller[k] - float(plain[k])) ** 3
        assert abs(float((chosen == k).float().mean()) - expected) < 0.032, "four standard deviations"


def test_who_pauses_with_parted_lips_is_not_shown_in_that_pause(material: dict[str, Any]) -> None:
    """Of 20 frames the first ten in a pause, every other with lips apart: five are left out, and only as targets."""
    clip, kept_out = material["clips"]
    landmarks = torch.zeros(20, 468, 3)
    landmarks[:, MOUTH_CORNERS, 0] = torch.tensor([50.0, 78.0])
    landmarks[::2, LOWER_LIP, 1] = 2.0  # a seventh of half the mouth's width
    mel = torch.full((20, 1, 80, 16), -2.0)
    mel[10:] = 1.0  # 37 dB louder
    parted = material | {"clips": [clip | {"landmarks": landmarks, "mel": mel}, kept_out]}
    maker = BatchMaker(parted, device=torch.device("cpu"))
    shown = torch.bincount(maker.draws.chosen(maker.frame_chances, 3000), minlength=20) / 3000
    assert not shown[:10:2].any()
    left = torch.cat((shown[1:10:2], shown[10:]))
    assert (left - 1 / 15).abs().max() < 0.02, "the others as often as each other; four standard deviations"


def test_mouths_that_have_to_shut_smile_shout_and_purse(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    shown = maker._shown(torch.zeros(4000, 4))
    wide = shown[(shown[:, 0] >= 0.1) & (shown[:, 2] == 0)]
    all_teeth = wide[:, 3] == 1
    pursed = shown[(shown[:, 2] >= 0.5) & (shown[:, 1] == 0)]  # what is said elsewhere is spread here
    assert abs(len(pursed) / 4000 - 0.25) < 0.027, "four standard deviations"
    assert pursed[:, 0].max() < 0.15 and PURSED_MOST - 0.1 < pursed[:, 2].max() <= PURSED_MOST
    assert abs(float(all_teeth.float().mean()) - (1 - TOOTHLESS)) < 0.05
    fewer = wide[~all_teeth]
    assert float(fewer[:, 3].min()) < 0.1 and float(fewer[fewer[:, 3] < 0.5, 0].max()) > 0.9, "wide open, no teeth"


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
    options += ["--new", "b"]
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
    known = retrain_hearing.without_voices(material, {"b"})
    assert [voice for _, _, voice in known["real_talks"]] == ["a"] and len(known["talks"]) == len(material["talks"])
    assert len(known["clips"]) == len(material["clips"])
    for new, message in (
        ({"b", "espeak"}, "nothing but new voices in talks"),
        ({"c", "b"}, "no voice c; there are a, b"),
    ):
        with pytest.raises(ValueError, match=message):
            retrain_hearing.without_voices(material, new)


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
    few, many = (watched(lambda n=n: maker.batch(n)).operations for n in (16, 64))  # of one filmed face views are less
    assert len(few) == len(many) > 100


def test_batches_are_made_on_the_device_alone(material: dict[str, Any]) -> None:
    """Nothing waits for a GPU or is copied there, so that a step of training can be recorded and replayed."""
    on_the_host = BatchMaker(material, device=torch.device("cpu"))
    with fake_cuda():
        maker = BatchMaker.__new__(BatchMaker)  # as the other, of tensors without values; a CUDA generator needs a GPU
        for name, value in vars(on_the_host).items():
            setattr(maker, name, on_fake_cuda(value))
        maker.device, maker.draws = torch.device("cuda"), Draws(None)  # type: ignore[arg-type]
        maker.heard = on_fake_cuda_ear()
        maker.batch(8)  # constants are brought there
        made = watched(lambda: maker.batch(64))
    assert len(made.operations) > 1000 and made.offences == [] and made.of_the_host == []


def on_fake_cuda_ear() -> HeardMouth:
    """A small one's tables, of tensors without values, and its network."""
    ear = HeardMouth.__new__(HeardMouth)
    sizes = {"_reading": (129, 4), "_heard": (4, 257), "_said": (4, 257)}
    vars(ear).update({name: torch.empty(size, device="cuda") for name, size in sizes.items()})
    with torch.device("cuda"):
        ear._encoder = Wav2Lip(0.25).eval().audio_encoder
    return ear


def on_fake_cuda(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="cuda")
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: on_fake_cuda(getattr(value, field.name)) for field in fields(value)})
    return value
