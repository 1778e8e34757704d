"""Speech as the generator hears it: 16 kHz mono, log-mel, one window of 16 columns per output frame.

Everything but the decoding runs on the device of the waveform. The constants are those the published Wav2Lip
checkpoints were trained with (arXiv 2008.10010).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gpu_lipsync.media.sound_file import Sound, at_rate, read_sound
from gpu_lipsync.ops import upload

SAMPLE_RATE_HZ = 16_000
N_FFT = 800  # 50 ms
HOP = 200  # 12.5 ms: 80 mel columns a second
N_MELS = 80
MEL_LOW_HZ = 55.0
MEL_HIGH_HZ = 7600.0
PRE_EMPHASIS = 0.97
COLUMNS_PER_SECOND = SAMPLE_RATE_HZ // HOP
WINDOW_COLUMNS = 16  # 0.2 s
_AMPLITUDE_FLOOR = 1e-5  # -100 dB
_REFERENCE_DB = 20.0
_LARGEST_RATIO = 1000  # of a rate to what it shares with ours: torchaudio's filter takes 3 GB for 44101 Hz
# For rates below ours, "kaiser_best" of torchaudio's documentation. Its default is short and lets images of the speech
# through above half the rate: at 8 kHz mel band 65 is 1.4 of 8 off in the mean, the worst mouths 8 levels of 255. Above
# 16 kHz it is 0.06 levels in the mean, not worth up to six times the time and other figures than those published.
_LONG_FILTER: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


def load_audio(path: str | Path, device: torch.device | str = "cpu") -> Tensor:
    """Read the default audio stream, or else the first, of a sound or video file.

    All channels are decoded and averaged: asking a decoder for mono sums stereo at 0.707 each, sqrt(2) too loud. A
    stream that starts later than its container is preceded by that much silence.

    Args:
        path: any file whose sound FFmpeg can decode.
        device: where the result lies; resampling runs there.

    Returns:
        (n,) float32 in [-1, 1], 16 kHz mono.

    Raises:
        MediaError, ResourceError: as `read_sound`.
    """
    return waveform_of(read_sound(path), device)


def waveform_of(sound: Sound, device: torch.device | str = "cpu") -> Tensor:
    """Decoded sound as (n,) float32 in [-1, 1], 16 kHz mono, on the device."""
    mono, rate_hz = sound.samples.mean(axis=0), sound.sample_rate_hz
    if rate_hz // math.gcd(rate_hz, SAMPLE_RATE_HZ) > _LARGEST_RATIO:
        if rate_hz < SAMPLE_RATE_HZ:  # FFmpeg's filter is short too: twice the rate leaves it no images to let through
            mono, rate_hz = _by_sinc(torch.from_numpy(mono), rate_hz, 2 * rate_hz).numpy(), 2 * rate_hz
        mono, rate_hz = at_rate(mono, rate_hz, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ
    return resample(upload(torch.from_numpy(mono), device), rate_hz)


def resample(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Bring a waveform (n,) to 16 kHz (windowed sinc, torchaudio.functional.resample).

    Reference: librosa.resample(res_type="soxr_hq"); their log-mels are within 0.01 of 8 of each other in the mean.
    """
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return waveform
    return _by_sinc(waveform, sample_rate_hz, SAMPLE_RATE_HZ).clamp(-1.0, 1.0)


def _by_sinc(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    # By submodule: the package's own __init__ costs a third of a second that a 10 s budget has better uses for.
    from torchaudio.functional import resample as sinc_resample

    with torch.device("cpu"), _MadeInFloat32():
        return sinc_resample(waveform, from_hz, to_hz, **(_LONG_FILTER if from_hz < SAMPLE_RATE_HZ else {}))


def log_mel(waveform: Tensor) -> Tensor:
    """The normalised log-mel spectrogram that Wav2Lip was trained on.

    Args:
        waveform: (n,) float in [-1, 1], 16 kHz mono.

    Returns:
        (80, max(n, 401) // 200 + 1) float32 in [-4, 4]; a column every 12.5 ms, centred on its time.

    Raises:
        ValueError: the waveform is not 1-D, or empty.

    Reference: librosa.stft(pad_mode="reflect") and librosa.filters.mel, within 1e-3. (librosa's present default pads
        with zeros; the networks were trained with reflection.)
    """
    if waveform.ndim != 1 or waveform.shape[0] == 0:
        raise ValueError(f"waveform must be (n,) with n >= 1, got {tuple(waveform.shape) = }")
    if waveform.shape[0] <= N_FFT // 2:  # reflection needs more samples than it pads
        waveform = torch.nn.functional.pad(waveform, (0, N_FFT // 2 + 1 - waveform.shape[0]))
    emphasised = torch.cat([waveform[:1], waveform[1:] - PRE_EMPHASIS * waveform[:-1]])
    window = torch.hann_window(N_FFT, dtype=torch.float32, device=waveform.device)
    spectrum = torch.stft(
        emphasised, N_FFT, HOP, N_FFT, window, center=True, pad_mode="reflect", return_complex=True
    ).abs()
    basis = upload(torch.tensor(_mel_basis(), dtype=torch.float32), waveform.device)
    decibels = 20.0 * torch.log10((basis @ spectrum).clamp(min=_AMPLITUDE_FLOOR)) - _REFERENCE_DB
    return (8.0 * (decibels + 100.0) / 100.0 - 4.0).clamp(-4.0, 4.0)


def mel_windows(waveform: Tensor, fps: float | Fraction) -> Tensor:
    """Cut the spectrogram into the window that each output frame is generated from.

    Window i starts at column int(i * 80 / fps) and is 16 columns (0.2 s) wide; the last one ends at the last column.
    Sound shorter than one window is padded with silence.

    Args:
        waveform: (n,) float in [-1, 1], 16 kHz mono.
        fps: frames a second of the output, > 0.

    Returns:
        (N, 1, 80, 16) float32 in [-4, 4], N the number of output frames.

    Raises:
        ValueError: `fps` is not above 0, not finite, or a float below 1/2002.
    """
    needed = (WINDOW_COLUMNS - 1) * HOP
    if waveform.shape[0] < needed:
        waveform = torch.nn.functional.pad(waveform, (0, needed - waveform.shape[0]))
    mel = log_mel(waveform)
    starts = upload(torch.tensor(window_starts(mel.shape[1], fps)), mel.device)
    columns = starts[:, None] + torch.arange(WINDOW_COLUMNS, device=mel.device)
    return mel[:, columns].permute(1, 0, 2).unsqueeze(1)


def window_starts(n_columns: int, fps: float | Fraction) -> list[int]:
    """First column of each output frame's window, in a spectrogram of n_columns >= 16."""
    rate = exact_rate(fps)
    last = n_columns - WINDOW_COLUMNS
    starts: list[int] = []
    while True:
        # Exact integers: int(i * (80 / fps)) in floats is a column short wherever i * 80 / fps is whole.
        start = len(starts) * COLUMNS_PER_SECOND * rate.denominator // rate.numerator
        if start > last:
            return [*starts, last]
        starts.append(start)


def exact_rate(fps: float | Fraction) -> Fraction:
    """A frame rate as a fraction; floats become the nearest one with a denominator of at most 1001.

    Raises:
        ValueError: `fps` is not above 0, not finite, or a float below 1/2002.
    """
    rate = Fraction(fps).limit_denominator(1001) if isinstance(fps, float) and math.isfinite(fps) else fps
    if not 0 < rate < math.inf:  # of which NaN is neither, and 0.0001 has become 0
        raise ValueError(f"fps must be finite and above 0, got {fps}")
    return Fraction(rate)


def frame_loudness(waveform: Tensor, n_frames: int, fps: float | Fraction) -> Tensor:
    """How far the sound swings during each output frame: its root mean square, without its offset.

    A microphone's or sound card's offset is heard by nobody, and would make of silence something loud.

    Args:
        waveform: (n,) float in [-1, 1], 16 kHz mono.
        n_frames: number of output frames.
        fps: frames a second, > 0.

    Returns:
        (n_frames,) float32 in [0, 1]; 0 past the end of the sound.

    Raises:
        ValueError: `fps` is not above 0, not finite, or a float below 1/2002.

    Reference: numpy.std of each frame's samples, within a ten-thousandth of it (float32).
    """
    rate = exact_rate(fps)
    edges = [min(i * SAMPLE_RATE_HZ * rate.denominator // rate.numerator, len(waveform)) for i in range(n_frames + 1)]
    heard, at = waveform[: edges[-1]], upload(torch.tensor(edges), waveform.device)
    # The offset is taken from the samples: a difference of two large sums would leave noise where there is silence.
    swing = _frame_means(heard, at).repeat_interleave(at.diff(), output_size=len(heard)).sub_(heard)
    return _frame_means(swing.square_(), at).clamp(min=0).sqrt().to(waveform.dtype)


def _frame_means(samples: Tensor, edges: Tensor) -> Tensor:
    """Mean (n_frames,) double of samples (n,) from each of `edges` (n_frames + 1,) to the next; 0 of no samples."""
    # In double until after the difference: minutes of speech add up to where float32 has no room for a quiet frame.
    sums = samples.new_zeros(len(samples) + 1, dtype=torch.double)
    torch.cumsum(samples, 0, dtype=torch.double, out=sums[1:])
    return sums[edges].diff() / edges.diff().clamp(min=1)


_TORCHAUDIO_MAKES = (torch.linspace, torch.zeros, torch.as_tensor, torch.tensor)


class _MadeInFloat32(TorchFunctionMode):
    """Whatever a host program, maybe in another thread, has made the default for new tensors, which torchaudio uses."""

    def __torch_function__(
        self, function: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = {"dtype": torch.float32} if function in _TORCHAUDIO_MAKES else {}
        return function(*args, **named | (kwargs or {}))


@lru_cache(maxsize=1)
def _mel_basis() -> list[list[float]]:
    # As numbers, not as a tensor: a cached tensor would tie the module to the device that asked first.
    from torchaudio.functional import melscale_fbanks

    with torch.device("cpu"), _MadeInFloat32():
        basis = melscale_fbanks(
            N_FFT // 2 + 1, MEL_LOW_HZ, MEL_HIGH_HZ, N_MELS, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
        )
    return basis.T.tolist()
