"""How well a generator lip-syncs a talking clip whose truth is known: every figure, and which bars are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_lipsync.audio import SAMPLE_RATE_HZ, frame_loudness
from gpu_lipsync.judging import mouth_measures as measures
from gpu_lipsync.judging.resync import OpeningMeter, resync
from gpu_lipsync.judging.talking_clip import Clip
from gpu_lipsync.process.output_paths import written

SHIFTS_S = (-1.0, -0.5, -0.2, 0.2, 0.5, 1.0)
APART_S = 0.6  # an envelope moved by this much must fit clearly less


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure, what it should reach, and whether it does."""

    value: float
    bar: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class _Mouths:
    """A clip's faces with one way of speaking, (N, 3, 96, 96) in [0, 1], and how far their lips are apart, (N,)."""

    faces: Tensor
    opening: Tensor


def evaluate(
    clip: Clip,
    generator: nn.Module,
    picture: Path | None = None,
    *,
    shifts_s: Sequence[float] = SHIFTS_S,
    settle: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Every figure, and a picture if a path is given.

    Args:
        clip: the faces, the sound, and whether they belong together.
        generator: a Wav2Lip in evaluation mode, on the clip's device.
        picture: where mouths over time are drawn.
        shifts_s: by how much the sound is moved for `shifted`, seconds; no bar is about these.
        settle: called before the picture is written.

    Returns:
        What is written as JSON: `own_sound` (`other_sound` where the clip's is not its own), `shifted`, `silence` and
        `bars`.

    Raises:
        CheckpointError: mouths with NaN or infinity.
        EncodeError: the picture cannot be written.
    """
    opening_of = OpeningMeter(clip)
    source, said, silent = (_Mouths(faces=faces, opening=opening_of(faces)) for faces in _spoken(clip, generator))
    loudness = _envelope(clip, clip.waveform)
    speech = _in_speech(clip, source, said, silent, loudness)
    silence = _in_silence(source, said, silent)
    shifted = {f"{s:+.1f} s": _shifted(clip, generator, s, opening_of, source.opening) for s in shifts_s}
    name = "own_sound" if clip.own_sound else "other_sound"
    settle()
    if picture is not None:
        from gpu_lipsync.judging.mouth_strips import draw_strips

        rows = {"source": source, name.replace("_", " "): said, "silence": silent}
        faces, openings = ({label: getattr(m, what) for label, m in rows.items()} for what in ("faces", "opening"))
        with written("picture", picture):
            draw_strips(picture, faces, envelope=loudness[clip.frames], openings=openings)
    bars = {bar: asdict(reached) for bar, reached in _bars(speech, silence).items()}
    return _rounded({"n_frames": len(clip.faces), name: speech, "shifted": shifted, "silence": silence, "bars": bars})


def _spoken(clip: Clip, generator: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The clip's faces as they are, saying its sound, and in silence."""
    said = resync(clip, generator, clip.waveform)
    silent = resync(clip, generator, torch.zeros_like(clip.waveform))
    return clip.faces.float() / 255, said, silent


def _in_speech(clip: Clip, source: _Mouths, said: _Mouths, silent: _Mouths, loudness: Tensor) -> dict[str, float]:
    at = torch.tensor(clip.frames, device=loudness.device)
    envelope = loudness[at]
    moved = measures.shifted_correlation(said.opening, loudness, at, round(APART_S * clip.fps))
    figures = {"opening_with_envelope": measures.correlation(said.opening, envelope)}
    figures |= {} if moved is None else {"opening_with_envelope_moved": moved}
    figures |= {
        "opening_jitter": measures.jitter(said.opening, at),
        "true_opening_jitter": measures.jitter(source.opening, at),
        "colour_drift_levels": measures.colour_drift(said.faces, source.faces),
        "likeness": measures.likeness(said.faces, source.faces),
    }
    if clip.own_sound:
        lower = (said.faces[:, :, measures.LOWER_HALF], source.faces[:, :, measures.LOWER_HALF])
        figures |= {
            "lower_half_l1_levels": float((lower[0] - lower[1]).abs().mean()) * 255,
            "lower_half_psnr_db": measures.psnr(*lower),
            "opening_with_true_opening": measures.correlation(said.opening, source.opening),
            # What the sound adds to what shows in silence: a source's own mouth that shines through adds nothing.
            "sound_with_true_opening": measures.correlation(said.opening - silent.opening, source.opening),
            "true_opening_with_envelope": measures.correlation(source.opening, envelope),
        }
    return figures


def _in_silence(source: _Mouths, said: _Mouths, silent: _Mouths) -> dict[str, float]:
    return {
        "motion": float(silent.opening.std()),
        "motion_in_speech": float(said.opening.std()),
        "true_motion": float(source.opening.std()),
        "opening": float(silent.opening.mean()),
        "opening_in_speech": float(said.opening.mean()),
        "opening_with_true_opening": measures.correlation(silent.opening, source.opening),
    }


def _shifted(
    clip: Clip, generator: nn.Module, seconds: float, opening_of: OpeningMeter, true_opening: Tensor
) -> dict[str, float]:
    """What sound at another time does: the opening should follow it, and leave the truth behind."""
    waveform = _moved(clip.waveform, round(seconds * SAMPLE_RATE_HZ))
    opening = opening_of(resync(clip, generator, waveform))
    follows = {"opening_with_envelope": measures.correlation(opening, _envelope(clip, waveform)[clip.frames])}
    truth = {"opening_with_true_opening": measures.correlation(opening, true_opening)} if clip.own_sound else {}
    return follows | truth


def _moved(waveform: Tensor, samples: int) -> Tensor:
    """Later by `samples`, or earlier if negative; silence where nothing is left."""
    silence = waveform.new_zeros(min(abs(samples), len(waveform)))
    if samples >= 0:
        return torch.cat((silence, waveform))[: len(waveform)]
    return torch.cat((waveform[len(silence) :], silence))


def _envelope(clip: Clip, waveform: Tensor) -> Tensor:
    """Root mean square of the sound at each output frame, those after the clip too, averaged with its neighbours."""
    n_frames = max(clip.frames[-1] + 1, int(len(waveform) * clip.fps / SAMPLE_RATE_HZ))
    loudness = frame_loudness(waveform, n_frames, clip.fps)
    return nn.functional.avg_pool1d(loudness[None, None], 3, 1, padding=1, count_include_pad=False)[0, 0]


def _bars(speech: dict[str, float], silence: dict[str, float]) -> dict[str, Bar]:
    follows, moved = speech["opening_with_envelope"], speech.get("opening_with_envelope_moved")
    rest = silence["motion"] / max(silence["motion_in_speech"], 1e-9)
    bars = {"opening_with_envelope": _at_least(0.4, follows)}
    bars |= {} if moved is None else {"lead_over_moved_envelope": _at_least(0.2, follows - moved)}
    bars |= {
        "silence_to_speech_motion": Bar(value=rest, bar=f"<= {1 / 3:.3f}", met=rest <= 1 / 3),
    }
    if "opening_with_true_opening" in speech:
        bars |= {
            "lower_half_psnr_db": _at_least(22, speech["lower_half_psnr_db"]),
            "opening_with_true_opening": _at_least(0.25, speech["opening_with_true_opening"]),
        }
    return bars


def _at_least(limit: float, value: float) -> Bar:
    return Bar(value=value, bar=f">= {limit:g}", met=value >= limit)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value
