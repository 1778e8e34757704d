"""The command as its caller runs it: a subprocess on the samples, its file as ffprobe sees it, what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_lipsync.audio import load_audio, mel_windows
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.video import open_video
from tests.clips import tone, write_clip, write_sound
from tests.places import FACE, ROOT, SPEECH
from tests.probe import ffprobe

LOADING_SLOWLY = """
import runpy, sys, time
class Slow:
    def find_spec(name, *_):
        if name == "gpu_lipsync.cli":
            print("loading", flush=True)
            time.sleep(900)  # longer than the test waits
sys.meta_path.insert(0, Slow)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def command(*flags: object) -> list[str]:
    return [sys.executable, str(ROOT / "inference_fast.py"), *map(str, flags)]


def run(*flags: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*flags), cwd=cwd, capture_output=True, text=True, timeout=300)


def heeding() -> None:
    """In the child, before its program: these tests may run in the background or under nohup, which ignore signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def test_the_samples_become_a_video(checkpoint: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "folder" / "out.mp4", tmp_path / "report.json"
    flags = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", SPEECH, "--outfile", out, "--report", report]
    done = run(*flags, "--crf", 12, cwd=tmp_path)  # from another folder: nothing depends on where it is called
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("Total processing time: ")
    streams = ffprobe(out)
    with open_video(FACE, FrameConfig()) as source:
        n_windows = len(mel_windows(load_audio(SPEECH), source.fps))
        assert int(streams["video"]["nb_read_frames"]) == n_windows
        assert (streams["video"]["height"], streams["video"]["width"]) == source.size
        assert abs(float(streams["video"]["duration"]) - float(streams["audio"]["duration"])) < 1 / source.fps
        shown = source.timeline(n_windows).source
        _, frames = next(source.batches(range(16), 16))
        with open_video(out, FrameConfig(decoder="pyav")) as result:
            _, synced = next(result.batches(range(16), 16))
    assert shown[:16] == tuple(range(16))
    facts = json.loads(report.read_text())
    assert (facts["n_frames"], facts["n_frames_without_face"]) == (n_windows, 0)
    assert set(facts["seconds"]) >= {"start-up", "models", "faces", "generate", "blend", "encode"}
    assert {"python", "torch", "decord"} <= set(facts["versions"])
    if facts["device"].startswith("cpu"):
        # As many as PyTorch takes by itself: the threads that are kept to one core keep nobody else to it.
        program = "import torch; print(torch.get_num_threads())"
        usual = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        assert facts["device"] == f"cpu ({usual.strip()} threads)"
    difference = (synced.float() - frames.float()).abs().mean((0, 1))
    # Means of 8 x 8 blocks, since single pixels of hair and cloth differ by a dozen levels at crf 12.
    difference = torch.nn.functional.avg_pool2d(difference[None, None], 8)[0, 0]
    changed = difference > 8
    assert changed.any()
    rows, columns = changed.nonzero().unbind(1)
    # A patch of the face, and nothing else: the random mouth cannot be missed, the rest must be the source.
    assert (rows.max() - rows.min()) * (columns.max() - columns.min()) < 0.25 * difference.numel()
    assert difference[~changed].mean() < 1.5


@pytest.mark.parametrize("odd", [False, True])
def test_frames_without_a_face_pass_through(checkpoint: Path, tmp_path: Path, odd: bool) -> None:
    from skimage import data

    portrait = data.astronaut()[: 301 if odd else 300, 70 : 401 if odd else 400]

    def picture(index: int, height: int, width: int) -> np.ndarray:
        return portrait if index < 15 else np.full((height, width, 3), 90, np.uint8)

    face = write_clip(tmp_path / "face.avi", n_frames=30, size=portrait.shape[:2], picture=picture, codec="ffv1", pix_fmt="yuv444p")  # fmt: skip # noqa: E501
    sound = write_sound(tmp_path / "a.wav", tone(1.4))
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    flags = ["--checkpoint_path", checkpoint, "--face", face, "--audio", sound, "--outfile", out, "--report", report]
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    facts = json.loads(report.read_text())
    assert facts["n_frames_without_face"] == 15
    written = ffprobe(out)["video"]
    assert (facts["width"], facts["height"]) == (written["width"], written["height"]), "padded where it is odd"
    with open_video(out, FrameConfig(decoder="pyav")) as video:
        (_, first), *_ = video.batches(range(15, 30), 15)
    assert (first.float() - 90).abs().max() < 4  # flat grey through crf 18
    assert f"{15} frames without a face" in done.stdout


def test_a_still_with_every_alpha_path_and_a_dotted_folder(checkpoint: Path, tmp_path: Path) -> None:
    from skimage import data

    folder = tmp_path / "in" / "v1.2 it's; $HOME"
    folder.mkdir(parents=True)
    rgba = np.dstack([data.astronaut(), np.full((512, 512), 255, np.uint8)])
    rgba[:9, :9, 3] = 100
    Image.fromarray(rgba).save(folder / "a.png")
    out = folder / "out.mp4"
    sound = write_sound(folder / "a.wav", tone(0.6))
    done = run("--checkpoint_path", checkpoint, "--face", folder / "a.png", "--audio", sound, "--outfile", out, "--fps", 30)  # fmt: skip # noqa: E501
    assert done.returncode == 0, done.stderr
    assert "on black" in done.stderr
    assert ffprobe(out)["video"]["r_frame_rate"] == "30/1"


def test_quiet_says_nothing(checkpoint: Path, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(0.3))
    done = run("--checkpoint_path", checkpoint, "--face", FACE, "--audio", sound, "--outfile", tmp_path / "o.mp4", "--quiet")  # fmt: skip # noqa: E501
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_interrupt_while_the_program_is_still_being_loaded_is_answered_in_one_line() -> None:
    """An import would be left in the middle, with a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING_SLOWLY, str(ROOT / "inference_fast.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,
    )
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    try:
        assert process.communicate(timeout=300) == ("", "interrupted: nothing was written\n")
    finally:
        process.kill()
    assert process.returncode == 130


@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_cleans_up_undisturbed(
    checkpoint: Path, tmp_path: Path, sent: signal.Signals, exit_code: int
) -> None:
    sound = write_sound(tmp_path / "long.wav", tone(60.0))
    out = tmp_path / "results" / "out.mp4"
    flags = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", sound, "--outfile", out]
    process = subprocess.Popen(command(*flags), stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    deadline = time.monotonic() + 300
    while not (out.parent.exists() and any(p.stat().st_size for p in out.parent.iterdir())):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    for _ in range(6):  # somebody impatient, while the encoder is being waited for
        process.send_signal(sent)
        time.sleep(0.03)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == exit_code, stderr
    assert stderr.splitlines()[-1].endswith("nothing was written")
    assert not out.parent.exists()


def test_a_terminal_gets_a_bar(checkpoint: Path, tmp_path: Path) -> None:
    import pty

    sound = write_sound(tmp_path / "a.wav", tone(0.6))
    flags = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", sound, "--outfile", tmp_path / "o.mp4"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(*flags), stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(timeout=300) == 0
    assert b"12/12" in shown and b"frame/s" in shown
