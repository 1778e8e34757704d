"""Every figure of the judge against NumPy's, and what its names promise."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpu_lipsync.audio import mel_windows
from gpu_lipsync.judging import evaluation
from gpu_lipsync.judging import mouth_measures as measures
from gpu_lipsync.judging.evaluation import _in_silence, _in_speech, _Mouths, _moved, evaluate
from gpu_lipsync.judging.talking_clip import Clip
from gpu_lipsync.tracking.mouth_landmarks import Contexts

EXACT = 1e-5  # float32 against NumPy's float64
# Judged are 24 frames of 40, some of them alone: a gap is nothing that trembles.
FRAMES = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 15, 17, 18, 19, 20, 21, 22, 27, 28, 29, 30, 31, 38]


def clip_of(frames: list[int], *, fps: int = 25, faces: Tensor | None = None, waveform: Tensor | None = None) -> Clip:
    """A clip that says at which moments it is judged; its faces and its sound where they count."""
    n = len(frames)
    return Clip(
        faces=torch.zeros(n, 3, 96, 96, dtype=torch.uint8) if faces is None else faces,
        contexts=Contexts(torch.zeros(n, 3, 1, 1, dtype=torch.uint8), torch.zeros(n, 2, 3)),
        frames=frames,
        waveform=torch.zeros(16000) if waveform is None else waveform,
        fps=Fraction(fps),
    )


def random_mouths(seed: int, contrast: float) -> _Mouths:
    """Noise for each of FRAMES, so that no figure of these is that of others."""
    rng = torch.Generator().manual_seed(seed)
    faces = torch.rand(len(FRAMES), 3, 96, 96, generator=rng) * contrast
    return _Mouths(faces=faces, opening=torch.rand(len(FRAMES), generator=rng) * contrast)


@pytest.fixture(scope="module")
def mouths() -> tuple[_Mouths, _Mouths, _Mouths]:
    """The source, saying its sound, and in silence."""
    return random_mouths(0, 1.0), random_mouths(1, 0.8), random_mouths(2, 0.3)


def openings_of(mouths: tuple[_Mouths, _Mouths, _Mouths]) -> list[np.ndarray]:
    return [one.opening.double().numpy() for one in mouths]


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def trembling(series: np.ndarray) -> float:
    """The mean absolute second difference where three of FRAMES follow each other."""
    at = np.array(FRAMES)
    middles = [i for i in range(1, len(at) - 1) if at[i - 1] + 1 == at[i] == at[i + 1] - 1]
    return float(np.mean([abs(series[i - 1] - 2 * series[i] + series[i + 1]) for i in middles]))


def test_every_figure_of_speech_is_numpy_s(mouths: tuple[_Mouths, _Mouths, _Mouths]) -> None:
    """Each of them: one of the wrong series would be as plausible a number, and no bar is about most."""
    loudness = np.random.default_rng(3).random(40).astype(np.float32)
    found = _in_speech(clip_of(FRAMES), *mouths, torch.from_numpy(loudness))
    source, said, silent = openings_of(mouths)
    true, made = (one.faces.double().numpy() for one in mouths[:2])
    at = np.array(FRAMES)
    late, early = at >= 15, at < 25  # 0.6 s are 15 frames; there are 40
    moved = pearson(said[late], loudness[at[late] - 15]), pearson(said[early], loudness[at[early] + 15])
    cheeks = np.ones((96, 96), bool)
    cheeks[:48], cheeks[58:90, 28:68] = False, False
    off = made[:, :, 48:] - true[:, :, 48:]
    assert found == pytest.approx(
        {
            "opening_with_envelope": pearson(said, loudness[at]),
            "opening_with_envelope_moved": max(moved),
            "opening_jitter": trembling(said),
            "true_opening_jitter": trembling(source),
            "colour_drift_levels": np.abs(off.mean(axis=(0, 2, 3))).mean() * 255,
            "likeness": pearson(made.mean(0)[:, cheeks].ravel(), true.mean(0)[:, cheeks].ravel()),
            "lower_half_l1_levels": np.abs(off).mean() * 255,
            "lower_half_psnr_db": -10 * np.log10(np.square(off).mean()),
            "opening_with_true_opening": pearson(said, source),
            "sound_with_true_opening": pearson(said - silent, source),
            "true_opening_with_envelope": pearson(source, loudness[at]),
        },
        rel=EXACT,
        abs=EXACT,
    )


def test_every_figure_of_silence_is_numpy_s(mouths: tuple[_Mouths, _Mouths, _Mouths]) -> None:
    source, said, silent = openings_of(mouths)
    assert _in_silence(*mouths) == pytest.approx(
        {
            "motion": silent.std(ddof=1),
            "motion_in_speech": said.std(ddof=1),
            "true_motion": source.std(ddof=1),
            "opening": silent.mean(),
            "opening_in_speech": said.mean(),
            "opening_with_true_opening": pearson(silent, source),
        },
        rel=EXACT,
        abs=EXACT,
    )


@pytest.mark.parametrize(("fps", "frames"), [(25, 15), (50, 30)])
def test_the_envelope_is_moved_by_six_tenths_of_a_second(fps: int, frames: int) -> None:
    """Syllables are alike at less. A mouth so late to its sound follows nothing but the moved envelope."""
    loudness = torch.rand(4 * fps, generator=torch.Generator().manual_seed(4))
    late = _Mouths(faces=torch.zeros(len(loudness), 3, 96, 96), opening=loudness.roll(frames))
    found = _in_speech(clip_of(list(range(len(loudness))), fps=fps), late, late, late, loudness)
    assert found["opening_with_envelope_moved"] == pytest.approx(1.0)
    assert abs(found["opening_with_envelope"]) < 0.3  # of noise: three times 1 / sqrt(100)


def test_likeness_leaves_the_mouth_out_and_nothing_else_of_the_lower_face() -> None:
    """It says whether it is the same person, who may say something else."""
    face = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(5))
    speaks, above, beside = face.clone(), face.clone(), face.clone()
    speaks[:, :, measures.MOUTH_ROWS, measures.MOUTH_COLUMNS] = 0
    above[:, :, : measures.LOWER_HALF.start] = 0
    beside[:, :, measures.MOUTH_ROWS.start - 1, measures.MOUTH_COLUMNS] = 0
    assert measures.likeness(speaks, face) == pytest.approx(1.0, abs=1e-12)  # of equal values, in float64
    assert measures.likeness(above, face) == pytest.approx(1.0, abs=1e-12)
    assert measures.likeness(beside, face) < 0.999


def test_sound_is_moved_later_by_what_is_above_zero() -> None:
    sound = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert _moved(sound, 1).tolist() == [0, 1, 2, 3]
    assert _moved(sound, -1).tolist() == [2, 3, 4, 0]
    assert _moved(sound, 0).tolist() == [1, 2, 3, 4]
    assert _moved(sound, 9).tolist() == _moved(sound, -9).tolist() == [0, 0, 0, 0]


class Painter(nn.Module):
    """Paints the whole face, the lighter the louder the sound."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return (mel.mean(dim=(1, 2, 3)) / 8 + 0.5)[:, None, None, None].expand(-1, 3, 96, 96)


class LightMeter:
    """Stands for the meter of openings: the lighter a face, the further its lips are apart."""

    def __init__(self, clip: Clip) -> None:
        pass

    def __call__(self, faces: Tensor) -> Tensor:
        return faces.mean(dim=(1, 2, 3))


def test_a_mouth_half_a_second_late_is_that_of_sound_half_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sound at 1 s, and a mouth that opens for it at 1.5 s."""
    monkeypatch.setattr(evaluation, "OpeningMeter", LightMeter)
    sound = torch.zeros(48000)
    sound[16000:20000] = torch.randn(4000, generator=torch.Generator().manual_seed(6)) * 0.2
    late = torch.cat((torch.zeros(8000), sound[:-8000]))
    windows = mel_windows(late, 25)
    faces = (Painter()(windows, torch.empty(0)) * 255).round().to(torch.uint8)
    clip = clip_of(list(range(len(faces))), faces=faces, waveform=sound)
    shifted = evaluate(clip, Painter(), shifts_s=(-0.5, 0.5))["shifted"]
    assert shifted["+0.5 s"]["opening_with_true_opening"] > 0.99  # but for the faces' rounding
    assert shifted["-0.5 s"]["opening_with_true_opening"] < 0.1, "it has closed by then"
