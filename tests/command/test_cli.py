"""The command line: the predecessor's flags to the letter, ranges, and what answers before torch is there."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.cli import build_parser, main
from gpu_lipsync.config import EncodeConfig, FrameConfig, LipSyncConfig
from gpu_lipsync.errors import ConfigError, EncodeError
from gpu_lipsync.face_config import FaceConfig
from tests.places import ROOT

REQUIRED = ["--checkpoint_path", "c.pth", "--face", "f.mp4", "--audio", "a.wav"]

# Name, type of one value and default of every flag that the predecessor had.
PREDECESSOR = {
    "outfile": "results/result_voice.mp4",
    "static": False,
    "fps": 25.0,
    "pads": (0, 10, 0, 0),
    "face_det_batch_size": 16,
    "wav2lip_batch_size": 128,
    "resize_factor": 1,
    "crop": (0, -1, 0, -1),
    "box": (-1, -1, -1, -1),
    "rotate": False,
    "nosmooth": False,
    "blend_method": "ellipse",
    "mouth_region_size": 0.6,
    "blur_intensity": 51,
    "sharpen_mouth": False,
    "sharpen_amount": 0.5,
    "temporal_smooth": False,
    "smooth_window": 3,
    "smooth_mode": "light",
    "fp16": False,
    "silence_gating": False,
    "silence_threshold": 0.01,
    "face_det_stride": 5,
}


def parse(*flags: str) -> LipSyncConfig:
    return LipSyncConfig(**vars(build_parser().parse_args([*REQUIRED, *flags])))


def test_defaults_are_the_predecessors() -> None:
    config = parse()
    assert {name: getattr(config, name) for name in PREDECESSOR} == PREDECESSOR


def test_every_field_is_a_flag_and_defaults_stand_in_one_place() -> None:
    parsed = vars(build_parser().parse_args([*REQUIRED, "--report", "r.json"]))  # of them all it alone has no default
    assert set(parsed) == {field.name for field in fields(LipSyncConfig)}
    assert parse() == LipSyncConfig(checkpoint_path="c.pth", face="f.mp4", audio="a.wav")


def test_a_command_line_of_the_predecessor_parses() -> None:
    line = (
        "--pads 0 20 0 0 --crop 10 200 5 300 --box 20 120 30 130 --rotate --nosmooth --blend_method hd "
        "--mouth_region_size 0.4 --blur_intensity 61 --sharpen_mouth --sharpen_amount 1.2 --static "
        "--temporal_smooth --smooth_window 5 --smooth_mode strong --fp16 --silence_gating --resize_factor 2"
    )
    config = parse(*line.split())
    assert (config.pads, config.crop, config.box) == ((0, 20, 0, 0), (10, 200, 5, 300), (20, 120, 30, 130))
    assert (config.static, config.rotate, config.nosmooth, config.fp16) == (True, True, True, True)
    assert (config.blend.method, config.blend.mouth_region_size, config.blend.sharpen_amount) == ("hd", 0.4, 1.2)
    assert (config.faces.smooth_window, config.faces.smooth_mode) == (5, "strong")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], False),
        (["--static"], True),
        (["--static", "True"], True),
        (["--static", "False"], False),  # the predecessor took this for true
        (["--static", "1"], True),
        (["--static", "0"], False),
        (["--static", "yes"], True),
        (["--static", "No"], False),
    ],
)
def test_static_says_what_it_means(flags: list[str], expected: bool) -> None:
    assert parse(*flags).static is expected


@pytest.mark.parametrize(("flags", "expected"), [("", True), ("--keep_detail", True), ("--keep_detail False", False)])
def test_detail_is_kept_unless_it_is_not_wanted(flags: str, expected: bool) -> None:
    """By a run; blending by itself is as its formulas state."""
    assert parse(*flags.split()).blend.keep_detail is expected and not BlendConfig().keep_detail


def test_every_flag_reaches_its_stage() -> None:
    """No value that is a default."""
    frames = FrameConfig(fps=12.0, static=True, resize_factor=3, rotate=True, crop=(1, 200, 3, 400), decoder="pyav")
    faces = FaceConfig(
        pads=(1, 2, 3, 4),
        box=(5, 60, 7, 80),
        det_batch_size=9,
        det_stride=2,
        smooth=False,
        temporal_smooth=True,
        smooth_window=5,
        smooth_mode="strong",
    )
    blend = BlendConfig(
        method="hd", mouth_region_size=0.3, blur_intensity=7, sharpen_mouth=True, sharpen_amount=2.0, keep_detail=True
    )
    encode = EncodeConfig(encoder="libx264", crf=7, preset="slow")
    names = {"det_batch_size": "face_det_batch_size", "det_stride": "face_det_stride", "method": "blend_method"}
    flags: list[str] = ["--nosmooth"]
    for stage in (frames, faces, blend, encode):
        for field in fields(stage):
            value = getattr(stage, field.name)
            assert value != field.default, field.name
            if field.name == "smooth":
                continue
            name = f"--{names.get(field.name, field.name)}"
            if value is True:
                flags.append(name)
            else:
                flags += [name, *map(str, value if isinstance(value, tuple) else [value])]
    config = parse(*flags)
    assert (config.frames, config.faces, config.blend, config.encode) == (frames, faces, blend, encode)


def test_an_even_blur_becomes_odd() -> None:
    assert parse("--blur_intensity", "50").blend.blur_intensity == 51


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--mouth_region_size 0.05", "0.1 to 1.0, got 0.05"),
        ("--mouth_region_size 1.5", "0.1 to 1.0, got 1.5"),
        ("--blur_intensity 0", "1 to 201"),
        ("--blur_intensity 301", "1 to 201"),
        ("--sharpen_amount 5.5", "0 to 5, got 5.5"),
        ("--silence_threshold 2", "0 to 1, got 2"),
        ("--smooth_window 40", "1 to 31"),
        ("--face_det_stride 0", "face_det_stride must be 1 or more, got 0"),
        ("--device cuda:2147483648", "cuda:N"),
        ("--device cuda:256", "cuda:N"),  # PyTorch's numbers are of 8 bits: that would be 0
        ("--device cuda:01", "cuda:N"),
        ("--face_det_batch_size 0", "1 or more"),
        ("--wav2lip_batch_size 0", "1 or more, got 0"),
        ("--resize_factor 0", "1 or more, got 0"),
        ("--fps 0", "0.01 to 240, got 0"),
        ("--fps 0.0004", "0.01 to 240, got 0.0004"),
        ("--fps nan", "0.01 to 240"),
        ("--box 100 50 0 10", "top bottom left right"),
        ("--box 100 110 50 250", "200x10 pixels"),
        ("--crop 0 -5 0 0", "crop must be"),
        ("--crf 60", "0 to 51, got 60"),
        ("--device tpu", "auto, cpu, cuda or cuda:N, got 'tpu'"),
        ("--outfile result.txt", ".mp4"),
    ],
)
def test_nonsense_is_refused_with_the_range(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REQUIRED, *flags.split()]) == ConfigError.exit_code
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("flags", ["--fps abc", "--blend_method foo", "--pads 1 2 3", "--nope", "--static maybe"])
def test_what_is_no_flag_or_no_number_is_answered_in_one_line(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*REQUIRED, *flags.split()])
    stderr = capsys.readouterr().err
    assert stopped.value.code == ConfigError.exit_code
    assert stderr.startswith("error: ") and stderr.count("\n") == 1


@pytest.mark.parametrize("size", ["0.1", "0.3", "0.4", "1.0"])
def test_the_users_mouth_sizes_are_accepted(size: str) -> None:
    assert parse("--mouth_region_size", size).blend.mouth_region_size == float(size)


@pytest.mark.parametrize("role", ["face", "audio", "checkpoint_path"])
def test_an_outfile_that_is_an_input_is_refused(tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "clip.mp4"
    precious.write_bytes(b"precious")
    assert main([*REQUIRED, f"--{role}", str(precious), "--outfile", str(precious)]) == ConfigError.exit_code
    assert f"outfile {precious} and {role} are the same file" in capsys.readouterr().err
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("flag", ["face", "audio", "checkpoint_path", "outfile", "report"])
def test_a_name_of_nothing_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell's variable that is not set: the path of the folder that this runs in."""
    assert main([*REQUIRED, f"--{flag}", ""]) == ConfigError.exit_code
    assert capsys.readouterr().err == f"error: {flag} must be the path of a file, got ''\n"


@pytest.mark.parametrize("role", ["face", "audio", "checkpoint_path", "outfile"])
def test_a_report_over_another_file_is_refused(
    tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    precious = tmp_path / "clip.mp4"
    if role != "outfile":  # which is not there yet
        precious.write_bytes(b"precious")
    flags = [*REQUIRED, f"--{role}", str(precious), "--report", "folder/../clip.mp4"]
    (tmp_path / "folder").mkdir()
    assert main(flags) == ConfigError.exit_code
    assert f"report folder/../clip.mp4 and {role} are the same file" in capsys.readouterr().err
    assert role == "outfile" or precious.read_bytes() == b"precious"


def test_a_report_over_another_name_of_an_input_is_refused(tmp_path: Path) -> None:
    """A hard link, which no path tells."""
    precious, link = tmp_path / "clip.mp4", tmp_path / "report.json"
    precious.write_bytes(b"precious")
    os.link(precious, link)
    assert main([*REQUIRED, "--face", str(precious), "--report", str(link)]) == ConfigError.exit_code
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("flag", ["--outfile", "--report"])
@pytest.mark.parametrize(("name", "reason"), [("x" * 300 + ".mp4", "too long"), ("locked/a.mp4", "Permission denied")])
def test_a_path_that_cannot_be_looked_at_is_one_line(
    tmp_path: Path,
    flag: str,
    name: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = Path.stat

    def stat(path: Path, **settings: bool) -> os.stat_result:  # root may look into any folder
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **settings)

    monkeypatch.setattr(Path, "stat", stat)
    assert main([*REQUIRED, flag, str(tmp_path / name)]) == EncodeError.exit_code
    stderr = capsys.readouterr().err
    assert reason in stderr and stderr.count("\n") == 1


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").touch()
    for path, reason in ((tmp_path / "plain" / "r.json", "plain is a file"), (tmp_path, "is a folder")):
        assert main([*REQUIRED, "--report", str(path)]) == EncodeError.exit_code
        assert reason in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert main([*REQUIRED, "--report", str(tmp_path / "new" / "r.json")]) == EncodeError.exit_code
    assert f"no permission to write {tmp_path}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


@pytest.mark.parametrize("flags", [["--help"], [*REQUIRED, "--crf", "99"], ["--nonsense"], REQUIRED])
def test_quick_answers_do_not_wait_for_torch(flags: list[str]) -> None:
    script = f"""
import os, runpy, sys
os._exit = sys.exit  # how the command ends without taking torch apart
sys.argv = ["inference_fast.py", *{flags!r}]
try:
    runpy.run_path("inference_fast.py", run_name="__main__")
except SystemExit:
    pass
assert "torch" not in sys.modules and "numpy" not in sys.modules, "torch was imported"
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


def test_a_name_with_an_end_of_line_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").write_text("not read")
    name = str(tmp_path / "two\nlines\x1b[2J\x9b1m.mp4")
    assert main(["--checkpoint_path", "c.pth", "--face", name, "--audio", str(tmp_path / "a.wav")]) == 3
    assert (
        capsys.readouterr().err
        == f"error: face file {tmp_path}/two\\nlines\\x1b[2J\\x9b1m.mp4 does not exist; check the path\n"
    )


def test_a_bug_is_no_error_of_the_user_s(tmp_path: Path) -> None:
    """Exit code 1 and a traceback, for us to be told of."""
    program = f"""
import sys
from gpu_lipsync import cli, pipeline
def run(*_, **__):
    raise TypeError("a bug")
pipeline.run = run
sys.exit(cli.main({[*REQUIRED, "--outfile", str(tmp_path / "out.mp4")]!r}))
"""
    for name in ("c.pth", "f.mp4", "a.wav"):
        (tmp_path / name).write_text("not read")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Traceback") and done.stderr.endswith("TypeError: a bug\n")
