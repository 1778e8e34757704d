"""The judge, on generators whose answer is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from gpu_lipsync import compare
from gpu_lipsync.errors import CheckpointError, FaceNotFoundError, MediaError, ResourceError
from gpu_lipsync.evaluate import main
from gpu_lipsync.judging import mouth_measures as measures
from gpu_lipsync.judging.evaluation import evaluate
from gpu_lipsync.judging.resync import resync
from gpu_lipsync.judging.talking_clip import Clip, read_clip
from tests.clips import write_clip, write_sound
from tests.judging.test_bars import LIMITS
from tests.places import DEMO, FACE, SPEECH
from tests.talkers import sample_frame, speaking, surroundings

FPS = Fraction(25)


def level(mel: Tensor) -> Tensor:
    """How loud each window (B, 1, 80, 16) begins, 0 to 1."""
    return (mel[:, 0, :, :4].mean(dim=(1, 2)) / 8 + 0.5).clamp(0, 1)


class Talker(nn.Module):
    """Opens the mouth as far as the sound is loud."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return speaking(level(mel))


class Copier(nn.Module):
    """Hears nothing: gives the face back."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return faces


def syllables(seconds: float = 4.0) -> Tensor:
    """Noise that comes and goes irregularly, as speech does; (n,) at 16 kHz, seeded."""
    rng = torch.Generator().manual_seed(3)
    n = int(seconds * 16000)
    steps = torch.rand(int(seconds * 5), generator=rng) ** 2
    envelope = nn.functional.interpolate(steps[None, None], n, mode="linear", align_corners=True)[0, 0]
    return envelope * torch.randn(n, generator=rng) * 0.2


@pytest.fixture(scope="module")
def talk() -> Clip:
    """The sample's face saying `syllables` as Talker would."""
    from gpu_lipsync.audio import mel_windows

    waveform = syllables()
    mel = mel_windows(waveform, FPS)
    faces = (speaking(level(mel)) * 255).round().to(torch.uint8)
    n = len(faces)
    return Clip(faces=faces, contexts=surroundings(n), frames=list(range(n)), waveform=waveform, fps=FPS)


def test_correlation_jitter_and_psnr_match_numpy_and_skimage() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200))
    expected = np.corrcoef(first, first + second)[0, 1]
    got = measures.correlation(torch.from_numpy(first), torch.from_numpy(first + second))
    assert got == pytest.approx(expected, abs=1e-9)  # both in float64
    assert measures.correlation(torch.ones(9), torch.arange(9.0)) == 0.0
    expected = np.abs(np.diff(first, n=2)).mean()
    frames = torch.arange(200)
    assert measures.jitter(torch.from_numpy(first), frames) == pytest.approx(expected, abs=1e-9)
    expected = np.abs(np.concatenate([np.diff(part, n=2) for part in (first[:90], first[90:])])).mean()
    assert measures.jitter(torch.from_numpy(first), frames + 5 * (frames >= 90)) == pytest.approx(expected, abs=1e-9)
    assert measures.jitter(torch.ones(2), frames[:2]) == measures.jitter(torch.ones(4), 2 * frames[:4]) == 0
    a, b = rng.random((2, 3, 32, 32)).astype(np.float32)
    expected = peak_signal_noise_ratio(a, b, data_range=1)
    assert measures.psnr(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-3)  # dB, float32


def test_a_series_is_moved_by_frames_of_the_clip_whichever_are_judged() -> None:
    """Half of a curve's frames, irregularly: the same as NumPy's correlation with the curve moved by so many frames."""
    rng = np.random.default_rng(0)
    curve = rng.normal(size=120)
    at = np.sort(rng.choice(120, size=60, replace=False))
    late, early = at[at >= 15] - 15, at[at < 105] + 15
    noise = rng.normal(size=60)
    expected = max(
        np.corrcoef(noise[at >= 15], curve[late])[0, 1],
        np.corrcoef(noise[at < 105], curve[early])[0, 1],
    )
    first, second, frames = torch.from_numpy(noise), torch.from_numpy(curve), torch.from_numpy(at)
    assert measures.shifted_correlation(first, second, frames, 15) == pytest.approx(expected, abs=1e-9)  # float64
    echo = torch.from_numpy(curve[early])
    assert measures.shifted_correlation(echo, second, frames[at < 105], 15) == pytest.approx(1.0)
    assert measures.shifted_correlation(first, second, frames, 118) is None  # too few overlap


def test_a_black_and_white_clip_is_judged_without_the_colour_that_the_product_takes_away(talk: Clip) -> None:
    grey = talk.faces.float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1)
    red = nn.Module()
    red.forward = lambda mel, faces: faces * torch.tensor([1.0, 0.5, 0.5]).view(3, 1, 1)  # type: ignore[method-assign]
    mouths = resync(replace(talk, faces=grey), red, talk.waveform)
    assert (mouths.amax(1) - mouths.amin(1)).max() < 1e-6
    coloured = resync(talk, red, talk.waveform)
    assert (coloured.amax(1) - coloured.amin(1)).max() > 0.1


def test_mouths_that_are_no_numbers_are_an_error(talk: Clip) -> None:
    class Diverged(Talker):
        def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
            mouths = super().forward(mel, faces)
            mouths[-1, 0, 60, 40] = torch.nan
            return mouths

    with pytest.raises(CheckpointError, match="not numbers"):
        evaluate(talk, Diverged())


def test_a_talker_meets_every_bar_and_follows_shifted_sound(talk: Clip, tmp_path: Path) -> None:
    report = evaluate(talk, Talker(), tmp_path / "strips.png")
    assert set(report["bars"]) == set(LIMITS)
    assert all(bar["met"] for bar in report["bars"].values()), report["bars"]
    assert report["own_sound"]["opening_with_true_opening"] > 0.99
    assert list(report["shifted"]) == ["-1.0 s", "-0.5 s", "-0.2 s", "+0.2 s", "+0.5 s", "+1.0 s"]
    for shift, shifted in report["shifted"].items():
        apart = 0.0 if "0.2" in shift else 0.05  # syllables so near are alike by 0.7, openings read off landmarks
        assert shifted["opening_with_envelope"] > max(0.6, shifted["opening_with_true_opening"] + apart)
    from PIL import Image

    with Image.open(tmp_path / "strips.png") as picture:
        assert picture.width > 24 * 96


def test_a_copier_is_found_out(talk: Clip, tmp_path: Path) -> None:
    report = evaluate(talk, Copier(), tmp_path / "new" / "strips.png", shifts_s=(-0.5, 0.2))
    assert list(report["shifted"]) == ["-0.5 s", "+0.2 s"]
    assert (tmp_path / "new" / "strips.png").stat().st_size > 0
    assert report["own_sound"]["lower_half_psnr_db"] == 99.0
    assert not report["bars"]["silence_to_speech_motion"]["met"]
    assert report["own_sound"]["opening_jitter"] == report["own_sound"]["true_opening_jitter"] > 0
    assert all(s["opening_with_true_opening"] > 0.99 for s in report["shifted"].values())


def test_another_sound_than_the_clips_own_has_no_truth(talk: Clip, tmp_path: Path) -> None:
    """The mouth of the clip says `syllables`, the sound is that backwards: a talker is judged by the sound alone."""
    other = replace(talk, waveform=talk.waveform.flip(0), own_sound=False)
    report = evaluate(other, Talker(), tmp_path / "strips.png", shifts_s=(0.5,))
    assert "own_sound" not in report and report["other_sound"]["opening_with_envelope"] > 0.8
    assert set(report["bars"]) == {"opening_with_envelope", "lead_over_moved_envelope", "silence_to_speech_motion"}
    assert all(bar["met"] for bar in report["bars"].values())
    about_truth = ("lower_half", "with_true_opening", "true_opening_with")
    assert not any(words in name for name in report["other_sound"] for words in about_truth)
    assert all(list(shifted) == ["opening_with_envelope"] for shifted in report["shifted"].values())


def test_colour_drift_and_likeness_tell_another_face() -> None:
    face = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1) * 0.8
    other = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)).expand(4, -1, -1, -1) * 0.8
    assert measures.colour_drift(face + 0.1, face) == pytest.approx(25.5, abs=0.01)  # a tenth of 255 levels
    assert measures.likeness(face + 0.1, face) > 0.999 > 0.2 > measures.likeness(other, face)


def test_sound_or_face_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        read_clip(FACE, torch.device("cpu"))  # it has no sound of its own
    noise = np.random.default_rng(0).normal(size=(1, 32000)) * 0.1
    faceless = write_clip(tmp_path / "gradient.mp4", n_frames=50, sound=noise)
    with pytest.raises(FaceNotFoundError, match="0 of"):
        read_clip(faceless, torch.device("cpu"))


def test_a_late_picture_is_judged_by_the_sound_that_it_is_seen_with(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 32000)) * 0.1
    face = sample_frame()[0].permute(1, 2, 0).numpy()
    clip = write_clip(
        tmp_path / "late.mp4",
        n_frames=40,
        size=face.shape[:2],
        picture=lambda *_: face,
        pts=[80 + 40 * i for i in range(40)],  # two frames late
        sound=noise,
    )
    assert read_clip(clip, torch.device("cpu")).frames[:3] == [0, 3, 4]  # a late first frame is shown from the start


def test_of_a_clip_that_repeats_each_frame_is_judged_once(tmp_path: Path) -> None:
    """A phone's uneven rate under a sound three times as long."""
    face = sample_frame()[0].permute(1, 2, 0).numpy()
    sound = write_sound(tmp_path / "long.wav", np.random.default_rng(0).normal(size=(1, 96000)) * 0.1)
    uneven = np.random.default_rng(0).integers(-14, 15, size=50)
    clip = write_clip(
        tmp_path / "uneven.mp4",
        n_frames=50,
        size=face.shape[:2],
        picture=lambda *_: face,
        pts=[0, *(36 * np.arange(1, 50) + uneven[1:]).tolist()],
    )
    read = read_clip(clip, torch.device("cpu"), audio=sound)
    assert read.frames == sorted(set(read.frames)) and len(read.frames) == len(read.faces) == 50


def test_command_writes_its_report_or_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (broken := tmp_path / "weights.pth").touch()
    assert main(["--checkpoint_path", str(broken), "--face", str(FACE)]) == 5
    assert capsys.readouterr().err.count("\n") == 1
    clip, report = tmp_path / "talking.mp4", tmp_path / "report.json"
    join_samples(clip)
    assert (
        main(["--checkpoint_path", str(DEMO), "--face", str(clip), "--max_seconds", "1.6", "--out", str(report)]) == 0
    )
    assert json.loads(report.read_text())["n_frames"] == 40
    speech = str(SPEECH)  # beside a face whose clip has none
    flags = ["--face", str(FACE), "--audio", speech, "--max_seconds", "1.2", "--out", str(report)]
    assert main(["--checkpoint_path", str(DEMO), *flags]) == 0
    told = json.loads(report.read_text())
    assert told["audio"] == speech and "lower_half_psnr_db" not in told["bars"]


@pytest.mark.parametrize(
    ("flags", "exit_code", "reason"),
    [
        (["--max_seconds", "0"], 2, "above 0"),
        (["--max_seconds", "nan"], 2, "above 0"),
        (["--out", "plain/report.json"], 6, "plain is a file"),
        (["--out", "plain"], 2, "out plain and face are the same file"),
        (["--audio", "speech.wav", "--out", "speech.wav"], 2, "out speech.wav and audio are the same file"),
        (["--picture", "plain/strips.png"], 6, "plain is a file"),
        (["--picture", "strips.xyz"], 2, "must end in .png"),
        (["--out", "a.png", "--picture", "a.png"], 2, "picture a.png and out are the same file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path,
    flags: list[str],
    exit_code: int,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").touch()
    assert main(["--checkpoint_path", "missing", "--face", "plain", *flags]) == exit_code  # later it would be 5
    stderr = capsys.readouterr().err
    assert reason in stderr and stderr.count("\n") == 1


def test_too_little_of_a_clip_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Less than a frame, too."""
    speech, face = str(SPEECH), str(FACE)
    arguments = ["--checkpoint_path", str(DEMO), "--face", face, "--audio", speech, "--max_seconds", "0.01"]
    assert main(arguments) == FaceNotFoundError.exit_code
    stderr = capsys.readouterr().err
    assert "1 of 1 frames" in stderr and stderr.count("\n") == 1


def join_samples(path: Path) -> None:
    """The sample face with the sample speech for its sound, streams copied."""
    import av

    with (
        av.open(str(FACE)) as face,
        av.open(str(SPEECH)) as speech,
        av.open(str(path), "w") as out,
    ):
        video = out.add_stream_from_template(face.streams.video[0])
        sound = out.add_stream("aac", rate=22050)
        for packet in face.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for frame in speech.decode(audio=0):
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))


@pytest.mark.parametrize("command", [main, compare.main])
def test_a_lack_of_memory_is_told_in_one_line(
    command: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def starved(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gpu_lipsync.models.load_wav2lip", starved)
    arguments = ["--checkpoint_path", str(DEMO), "--face", str(FACE)]
    arguments += [] if command is main else ["--outfile", str(tmp_path / "page.html")]
    assert command([*arguments, "--audio", str(SPEECH)]) == ResourceError.exit_code
    stderr = capsys.readouterr().err
    assert "pass a smaller --max_seconds" in stderr and stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
