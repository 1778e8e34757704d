"""The mel against librosa, loading against known signals, windows against the rule they were trained with."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import torch
import torchaudio.functional
from av.stream import Disposition

from gpu_lipsync.audio import (
    exact_rate,
    frame_loudness,
    load_audio,
    log_mel,
    mel_windows,
    resample,
    waveform_of,
    window_starts,
)
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.sound_file import Sound, read_sound
from tests.clips import tone, write_clip, write_sound
from tests.operations import default_dtype
from tests.places import SPEECH


def librosa_mel(waveform: np.ndarray) -> np.ndarray:
    """The same features by librosa, every default written out."""
    emphasised = np.append(waveform[0], waveform[1:] - 0.97 * waveform[:-1])
    spectrum = np.abs(
        librosa.stft(
            emphasised, n_fft=800, hop_length=200, win_length=800, window="hann", center=True, pad_mode="reflect"
        )
    )
    basis = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600, htk=False, norm="slaney")
    decibels = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)


def assert_matches_librosa(waveform: torch.Tensor) -> None:
    expected = librosa_mel(waveform.numpy().astype(np.float64))
    # float32 against float64: 1e-3 of a scale from -4 to 4 is what the issue asks for, 2e-4 is seen.
    torch.testing.assert_close(log_mel(waveform), torch.from_numpy(expected).float(), atol=1e-3, rtol=0)


def test_log_mel_matches_librosa_on_sample_speech() -> None:
    assert_matches_librosa(load_audio(SPEECH))


@pytest.mark.parametrize("name", ["jfk_11s_44k1_stereo.flac", "ljspeech_7.7s_22k_mono.wav", "vretalk_2_48k_stereo.wav"])
def test_log_mel_matches_librosa_on_real_speech(media: Path, name: str) -> None:
    assert_matches_librosa(load_audio(media / "audio" / name))


def test_log_mel_on_device_equals_cpu(device: str) -> None:
    waveform = load_audio(SPEECH)
    # cuFFT and MKL sum in another order.
    torch.testing.assert_close(log_mel(waveform.to(device)).cpu(), log_mel(waveform), atol=1e-3, rtol=0)


def test_load_audio_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    both = np.concatenate([tone(1.0, hertz=200), 0 * tone(1.0)])
    loaded = load_audio(write_sound(tmp_path / "a.wav", both))
    # 16-bit rounding. A decoder asked for mono would give 0.354: root two too loud.
    np.testing.assert_allclose(loaded.numpy(), both.mean(0), atol=1 / 32768)


def test_of_several_tracks_the_default_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("flac", rate=16000, layout="mono") for _ in range(2)]
        tracks[1].disposition = Disposition.default
        for stream, hertz in zip(tracks, (200.0, 1000.0), strict=True):
            samples = (tone(1.0, hertz=hertz) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    spectrum = np.abs(np.fft.rfft(load_audio(path).numpy()))
    assert spectrum.argmax() == 1000  # Hz, of a second


def test_floating_point_sound_may_hold_anything(tmp_path: Path) -> None:
    samples = tone(0.5)
    samples[0, 100:104] = np.nan, np.inf, -np.inf, 3.0
    loaded = load_audio(write_sound(tmp_path / "a.wav", samples, codec="pcm_f32le")).numpy()
    assert loaded[100:104].tolist() == [0.0, 1.0, -1.0, 1.0]
    np.testing.assert_allclose(loaded[200:], samples[0, 200:], atol=1e-6)  # float32


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_load_audio_resamples_like_librosa(tmp_path: Path, rate: int) -> None:
    loaded = load_audio(write_sound(tmp_path / "a.wav", tone(1.0, rate), rate=rate)).numpy()
    expected = librosa.resample(tone(1.0, rate)[0], orig_sr=rate, target_sr=16000, res_type="soxr_hq")
    assert abs(len(loaded) - 16000) <= 1
    middle = slice(800, 15000)
    # Two windowed sincs of different length; the ends, where they differ in padding, are left out.
    np.testing.assert_allclose(loaded[middle], expected[middle], atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 8012, 11025, 11127, 12000])  # the second and fourth share too little with 16000
def test_speech_of_low_rates_has_no_images_above_them(rate: int) -> None:
    speech = read_sound(SPEECH)
    low = librosa.resample(speech.samples, orig_sr=speech.sample_rate_hz, target_sr=rate, res_type="soxr_hq")
    ours = log_mel(waveform_of(replace(speech, samples=low, sample_rate_hz=rate)))
    theirs = librosa_mel(librosa.resample(low[0], orig_sr=rate, target_sr=16000, res_type="soxr_hq").clip(-1, 1))
    n = min(ours.shape[1], theirs.shape[1])
    off = np.abs(ours.numpy()[:, :n] - theirs[:, :n])
    # Of 8, where images make it 0.05 to 0.14 and 1.2 to 2.2 in the worst band; 0.006 and 0.26 are seen, in the band at
    # half the rate, where the two filters fall off otherwise.
    assert off.mean() < 0.01 and off.mean(1).max() < 0.4


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_from_16_khz_up_resampling_is_what_the_published_figures_were_measured_with(rate: int) -> None:
    noise = torch.rand(rate, generator=torch.Generator().manual_seed(0)) - 0.5
    square = torch.from_numpy(tone(0.1, rate)[0]).sign().float()
    samples = torch.cat([noise, square])
    expected = torchaudio.functional.resample(samples, rate, 16000)
    sound = Sound(path=Path("noise"), samples=samples[None].numpy(), layout="mono", sample_rate_hz=rate)
    assert expected.max() > 1  # a square wave at full scale rings
    assert torch.equal(waveform_of(sound), expected.clamp(-1, 1))


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize(("dtype", "device"), [("float16", "cpu"), ("float64", "cpu"), ("float32", "meta")])
def test_resampling_does_not_ask_what_a_host_program_has_set(rate: int, dtype: str, device: str) -> None:
    noise = torch.rand(rate, generator=torch.Generator().manual_seed(0)) - 0.5
    expected = resample(noise, rate)
    with default_dtype(getattr(torch, dtype)), torch.device(device):
        resampled = resample(noise, rate)
    assert torch.equal(resampled, expected)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp3", "mp3", 44100),
        ("a.m4a", "aac", 44100),
        ("a.flac", "flac", 48000),
        ("a.ogg", "libopus", 48000),
        ("a.opus", "libopus", 48000),
        ("a.wav", "pcm_f32le", 96000),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_load_audio_reads_every_container(tmp_path: Path, name: str, codec: str, rate: int, channels: int) -> None:
    loaded = load_audio(write_sound(tmp_path / name, tone(1.0, rate, channels=channels), rate=rate, codec=codec))
    assert loaded.shape[0] == pytest.approx(16000, abs=1200)  # codecs pad to whole frames, at most 1152 samples
    assert loaded[4000:12000].square().mean().sqrt().item() == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("channels", [6, 8])  # PyAV dies of eight channels in planes
def test_surround_is_averaged(tmp_path: Path, channels: int) -> None:
    centre = np.zeros((channels, 16000))
    centre[2] = tone(1.0)
    loaded = load_audio(write_sound(tmp_path / "a.wav", centre))
    np.testing.assert_allclose(loaded.numpy(), centre.mean(0), atol=1 / 32768)


@pytest.mark.parametrize("container", ["mkv", "mov"])
def test_late_sound_of_a_video_is_preceded_by_silence(tmp_path: Path, container: str) -> None:
    spoken = tone(0.6)
    late, prompt = (
        load_audio(write_clip(tmp_path / f"{start}.{container}", sound=spoken, sound_start_s=start)).numpy()
        for start in (0.25, 0.0)
    )
    # AAC begins with a frame of its own, 1024 samples that a player drops; Matroska's clock has milliseconds.
    lead = int(np.flatnonzero(np.abs(late) > 0.05)[0]) - int(np.flatnonzero(np.abs(prompt) > 0.05)[0])
    assert abs(lead - 0.25 * 16000) <= 16
    assert np.abs(late[: lead - 1100]).max() == 0
    assert len(late) - len(prompt) == pytest.approx(lead, abs=16)


def test_a_late_picture_is_not_late_sound(media: Path) -> None:
    path = media / "more" / "dfrf_french_m_fr_50s_512_30fps.mp4"
    assert load_audio(path).shape[0] == pytest.approx(50.43 * 16000, rel=1e-3)


@pytest.mark.parametrize("rate", [44101, 22254, 11127, 47999])
def test_rates_without_a_common_divisor(tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchaudio's filter for them would take gigabytes; old Macintosh sounds have the second and the third."""
    monkeypatch.setattr("gpu_lipsync.audio.resample", lambda waveform, rate: waveform if rate == 16000 else None)
    loaded = load_audio(write_sound(tmp_path / "a.wav", tone(2.0, rate), rate=rate)).numpy()
    assert abs(len(loaded) - 32000) <= 16
    expected = tone(2.0)[0]
    middle = slice(1600, 30400)
    # FFmpeg's resampler and 16 bits on the way; a rate off by 60 millionths would be 0.02 off after a second.
    np.testing.assert_allclose(loaded[middle], expected[middle], atol=2e-3)
    square = np.sign(tone(0.5, rate)).astype(np.float32)
    assert np.abs(load_audio(write_sound(tmp_path / "square.wav", square, rate=rate)).numpy()).max() <= 1  # it rings
    two_samples = load_audio(write_sound(tmp_path / "short.wav", np.full((1, 2), 0.5), rate=rate))
    assert len(two_samples) == max(1, round(32000 / rate))


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)])
def test_windows_follow_the_training_rule(fps: Fraction) -> None:
    starts = window_starts(801, fps)
    assert starts[:-1] == [int(Fraction(80 * i) / fps) for i in range(len(starts) - 1)]
    assert starts[-1] == 801 - 16
    # One more would have started past the end.
    assert int(Fraction(80 * (len(starts) - 1)) / fps) > 801 - 16


def test_windows_are_columns_of_the_mel() -> None:
    waveform = load_audio(SPEECH)
    mel, windows = log_mel(waveform), mel_windows(waveform, 25)
    assert windows.shape[1:] == (1, 80, 16)
    torch.testing.assert_close(windows[7, 0], mel[:, 22:38], rtol=0, atol=0)  # int(7 * 3.2) = 22
    torch.testing.assert_close(windows[-1, 0], mel[:, -16:], rtol=0, atol=0)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "24000/1001", "60000/1001"])
def test_a_float_of_a_rate_is_that_rate(fps: str) -> None:
    assert exact_rate(float(Fraction(fps))) == Fraction(fps)


@pytest.mark.parametrize("n_samples", [1, 300, 2999])
def test_short_sound_is_padded_to_one_window(n_samples: int) -> None:
    windows = mel_windows(torch.full((n_samples,), 0.1), 25)
    # Window 0 begins at column 0, the last one ends at the last column: here these are the same sixteen columns.
    assert windows.shape == (2, 1, 80, 16)
    assert torch.equal(windows[0], windows[1])


def test_loudness_is_the_root_mean_square_of_each_frame() -> None:
    wave = 0.25 * torch.sin(2 * torch.pi * 250 * torch.arange(16000) / 16000)  # ten periods in a frame
    loudness = frame_loudness(torch.cat([wave, torch.zeros(16000)]), 60, 25)
    np.testing.assert_allclose(loudness[:25], 0.25 / 2**0.5, rtol=1e-4)
    np.testing.assert_allclose(loudness[25:], 0, atol=1e-4)  # past the end too


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(50)])
def test_loudness_is_that_of_each_frame_at_any_rate(fps: Fraction) -> None:
    """NumPy's own, of the samples from one frame's beginning to the next's: their offset is not heard."""
    wave = torch.rand(32000, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, 32000)
    n = int(2 * fps)
    edges = [int(i * 16000 / fps) for i in range(n + 1)]
    spans = [wave[a:b].double().numpy() for a, b in zip(edges, edges[1:], strict=False)]
    expected = [span.std() for span in spans]
    np.testing.assert_allclose(frame_loudness(wave, n, fps), expected, rtol=1e-4)  # float32


def test_loudness_after_minutes_of_speech_is_as_exact_as_at_the_start() -> None:
    """Beside an offset, too, and where nothing but that is left."""
    seconds = 20 * 60
    loud = torch.tensor([0.9, -0.3]).repeat(8000 * seconds)
    waveform = torch.cat([loud, torch.tensor([0.301, 0.299]).repeat(8000), torch.full((16000,), 0.3)])
    after = frame_loudness(waveform, 25 * (seconds + 2), 25)[-50:]
    assert after.dtype == torch.float32
    np.testing.assert_allclose(after[:25], 1e-3, rtol=1e-3)
    # A difference of squares would leave 1.2e-5; doubles of six million, what the samples add up to, lie 1e-9 apart.
    np.testing.assert_allclose(after[25:], 0, atol=1e-8)


@pytest.mark.parametrize("offset", [0.012, 0.05, -0.3])
def test_an_offset_changes_no_loudness(offset: float) -> None:
    waveform = torch.cat([load_audio(SPEECH) / 2, torch.zeros(8000)])
    n = len(waveform) // 640
    # float32: at most 3e-8 on each sample.
    np.testing.assert_allclose(frame_loudness(waveform + offset, n, 25), frame_loudness(waveform, n, 25), atol=3e-8)
    assert frame_loudness(waveform + offset, n, 25)[-10:].max() < 1e-8


@pytest.mark.parametrize("name", ["jfk_11s_44k1_stereo.flac", "ljspeech_7.7s_22k_mono.wav", "vretalk_2_48k_stereo.wav"])
def test_of_speech_without_an_offset_it_is_the_root_mean_square(media: Path, name: str) -> None:
    waveform = load_audio(media / "audio" / name)
    frames = waveform[: len(waveform) // 640 * 640].view(-1, 640).double().numpy()
    expected = np.sqrt(np.square(frames).mean(1))
    # A frame of 40 ms holds part of a low voice's period more: 1.2e-4 is seen, where silence is what lies below 0.01.
    np.testing.assert_allclose(frame_loudness(waveform, len(frames), 25), expected, atol=2e-4)


def test_bad_sound_is_a_media_error_that_names_the_file(tmp_path: Path) -> None:
    silent_film = write_clip(tmp_path / "mute.mp4")
    noise = tmp_path / "noise.wav"
    noise.write_bytes(bytes(range(256)) * 40)
    empty = tmp_path / "empty.wav"
    empty.touch()
    whole = write_sound(tmp_path / "whole.wav", tone(4.0))
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    slow = write_sound(tmp_path / "slow.wav", tone(4.0), rate=900)  # 64,000 samples: a minute and more
    for path in (silent_film, noise, empty, cut, slow, tmp_path / "missing.wav", tmp_path):
        with pytest.raises(MediaError, match=str(path)):
            load_audio(path)
