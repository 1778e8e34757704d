"""Training batches: the sound that goes with the mouth, everybody as often, the same work for any number of faces."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_lipsync.tools.demo_batches import BatchMaker
from gpu_lipsync.tools.synthetic_talkers import shut
from gpu_lipsync.tools.talks import COLUMNS_PER_S, MEL_COLUMNS, MOMENTS_S, TRACK_HZ, Talks
from tests.residency import watched
from tests.talkers import sample_faces


def talk(number: int, seconds: float) -> tuple[Tensor, Tensor]:
    """Sound and mouth that say which talk this is, and when."""
    columns, moments = torch.arange(int(seconds * COLUMNS_PER_S)), torch.arange(int(seconds * TRACK_HZ))
    return (number * 1000 + columns).expand(80, -1).float(), (number * 10000 + moments).expand(4, -1).float()


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


@pytest.fixture(scope="module")
def material() -> dict[str, Any]:
    """Two people: one with a clip and two stills, one with a still."""
    originals = sample_faces(3)
    crops = torch.randint(0, 256, (20, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = {"person": "a", "held_out": False, "crops": crops, "landmarks": torch.rand(20, 468, 3)}
    clip["mel"] = torch.zeros(20, 1, 80, 16)
    return {
        "clips": [clip, {**clip, "person": "kept out", "held_out": True}],
        "stills": vars(shut(originals)),
        "originals": vars(originals),
        "gaps": torch.tensor([0.1, 0.3, 0.2]),
        "people": ["a", "a", "b"],
        "talks": [talk(0, 1.0)],
        "real_talks": [talk(1, 2.0), talk(2, 0.5)],
    }


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


def test_everybody_comes_as_often_as_anybody(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    share = torch.bincount(maker._stills(4000), minlength=3) / 4000
    assert abs(float(share[2]) - 0.5) < 0.03  # person b's only still; three standard deviations
    assert abs(float(share[1] / share[0]) - 0.35 / 0.15) < 0.4, "open mouths more often: gaps and 0.05"
    assert len(maker.crops) == 20, "who is kept out is not even there"


def test_a_large_batch_is_no_more_operations_than_a_small_one(material: dict[str, Any]) -> None:
    maker = BatchMaker(material, device=torch.device("cpu"))
    maker.batch(8)
    few, many = (watched(lambda n=n: maker.batch(n)).operations for n in (8, 64))
    assert len(few) == len(many) > 100
