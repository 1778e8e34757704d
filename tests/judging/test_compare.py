"""The comparison page: figures against pictures whose answer is known, pictures bit for bit, and the command."""

import base64
import os
import re
import shutil
import weakref
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gpu_lipsync import compare
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.judging import comparison
from gpu_lipsync.judging.compare_figures import box_edge, detail, mask_edge, seam
from gpu_lipsync.judging.compare_page import page, png
from gpu_lipsync.judging.comparison import Comparison, ModeFigures, Still
from gpu_lipsync.models.wav2lip import Wav2Lip
from tests import pictures
from tests.places import FACE, SAMPLES, SPEECH


def face() -> Tensor:
    """(1, 3, 120, 100) uint8."""
    return torch.from_numpy(pictures.face_like(120, 100)).permute(2, 0, 1)[None].contiguous()


def read_png(data: bytes) -> np.ndarray:
    # Not by OpenCV: once a decoder has brought its own zlib into the process, it reads none.
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def test_png_holds_every_pixel() -> None:
    picture = face()[0]
    assert np.array_equal(read_png(png(picture)), picture.permute(1, 2, 0).numpy())


def test_seam_is_zero_without_a_change_and_the_step_s_height_squared_with_one() -> None:
    flat = torch.full((1, 3, 40, 40), 100, dtype=torch.uint8)
    edge = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    edge[..., 18:22, :] = True
    stepped = flat.clone()
    stepped[:, :, 20:] += 6
    assert seam(flat, flat, edge) == 0
    assert seam(flat, stepped, edge) == pytest.approx(3 * 6**2 / 4)  # three channels, one row in four


def test_detail_is_one_for_the_source_and_less_for_a_blur() -> None:
    source = face()
    inside = torch.ones(1, 1, 120, 100, dtype=torch.bool)
    blurred = cv2.GaussianBlur(source[0].permute(1, 2, 0).numpy(), (0, 0), 1.5)
    assert detail(source, source, inside) == pytest.approx(1)
    assert detail(source, torch.from_numpy(blurred).permute(2, 0, 1)[None], inside) < 0.3


def test_the_edge_of_a_box_is_four_pixels_wide_and_cut_off_by_the_frame() -> None:
    edge = box_edge(30, 20, (5, 5, 0, 1), torch.device("cpu"))[0, 0]
    assert edge.shape == (31, 30)
    assert edge[15].nonzero().flatten().tolist() == [3, 4, 5, 6, 23, 24, 25, 26]
    assert edge[:, 15].nonzero().flatten().tolist() == [0, 1, 28, 29, 30]


def test_the_edge_of_a_mask_is_where_it_changes_with_a_feather_or_without() -> None:
    hard = torch.zeros(1, 1, 9, 20)
    hard[..., 6:12] = 1
    assert mask_edge(hard)[0, 0, 4].nonzero().flatten().tolist() == [5, 6, 11, 12], "the pixels on both sides"
    soft = torch.linspace(0, 1, 21).expand(1, 1, 9, 21)
    assert mask_edge(soft)[0, 0, 4].nonzero().flatten().tolist() == list(range(21)), "0 and 1 beside it"
    assert not mask_edge(torch.ones(1, 1, 9, 20)).any()


def test_the_page_needs_nothing_beside_it() -> None:
    picture = face()[0]
    shown = Comparison(
        n_frames=7,
        figures={name: ModeFigures([0.002], [1.25], [0.5]) for name in BLENDS},
        stills=[Still(frame=3, source=picture, modes=dict.fromkeys(BLENDS, picture))] * 2,
    )
    text = page("a <b> & c", "d", shown)
    assert "a &lt;b&gt; &amp; c" in text and "<b> & c" not in text
    assert text.count("data:image/png") == 2 * (1 + 2 * len(BLENDS))
    assert not re.search(r"""(src|href)=["'](?!data:)|https?:|@import|url\(""", text)
    for name in BLENDS:
        assert f"<tr><td>{name}</td><td>+1.2</td><td>50%</td><td>2.00</td></tr>" in text
    grey = base64.b64decode(re.findall(r"base64,([^\"]+)", text)[-1])
    assert (read_png(grey) == 128).all(), "no difference is middle grey"


def shown_in(text: str) -> list[np.ndarray]:
    """A page's pictures, (H, W, 3), in order: for each moment the source, each mode, each difference."""
    return [read_png(base64.b64decode(data)) for data in re.findall(r"base64,([^\"]+)", text)]


def test_differences_are_shown_six_times_as_large_around_grey() -> None:
    """As far as there are levels: what is too much is white or black, and does not come round to the other."""
    levels = {"ellipse": 102, "hd": 99, "guided": 200, "original": 0}
    source, *modes = (torch.full((3, 4, 5), level, dtype=torch.uint8) for level in (100, *levels.values()))
    still = Still(frame=0, source=source, modes=dict(zip(levels, modes, strict=True)))
    shown = shown_in(page("a", "b", Comparison(n_frames=1, figures={}, stills=[still])))
    for difference, level in zip(shown[-4:], (128 + 6 * 2, 128 - 6, 255, 0), strict=True):
        assert (difference == level).all()


def test_the_command_shows_every_mode(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    arguments = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", SPEECH]
    code = compare.main([*map(str, arguments), "--outfile", str(out), "--max_seconds", "1.5", "--moments", "2"])
    text = out.read_text(encoding="utf-8")
    assert code == 0 and "face.mp4 with speech.wav" in text
    assert text.count("<section") == 2 and re.search(r"3[78] frames in every", text)
    row = r"<tr><td>(\w+)</td><td>([+-][\d.]+)</td><td>(\d+)%</td><td>([\d.]+)</td></tr>"
    figures = {name: tuple(map(float, rest)) for name, *rest in re.findall(row, text)}
    assert set(figures) == set(BLENDS)
    seams, details, times = ({name: values[i] for name, values in figures.items()} for i in range(3))
    assert seams["original"] > 5 * max(abs(seams["ellipse"]), 1), "untrained, the naive paste must show its box"
    assert details["hd"] > details["ellipse"] >= 0, "what hd is for"
    assert all(ms > 0 for ms in times.values())
    pictures_shown = shown_in(text)
    assert len(pictures_shown) == 2 * (1 + 2 * len(BLENDS))
    source, *modes = pictures_shown[: 1 + len(BLENDS)]
    differences = pictures_shown[1 + len(BLENDS) : 1 + 2 * len(BLENDS)]
    for name, mode, difference in zip(figures, modes, differences, strict=True):
        changed = (mode != source).any(axis=2)
        assert changed.any(), name
        assert np.array_equal(changed, (difference != 128).any(axis=2)), f"{name}: grey where nothing changes"
    assert len({mode.tobytes() for mode in modes}) == len(BLENDS), "each mode's own picture"


def test_a_picture_is_compared_batch_by_batch(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame, shown as often as the sound is long: never all of them at once, and of each batch one."""
    face, sizes = tmp_path / "face.png", []
    stills: list[comparison.Still] = []
    still_of = comparison.Still
    with av.open(str(FACE)) as clip:
        next(clip.decode(video=0)).to_image().save(face)
    paste = comparison.paste_faces

    def counted(frames: Tensor, *rest: object, **how: object) -> Tensor:
        sizes.append(len(frames))
        return paste(frames, *rest, **how)  # type: ignore[arg-type]

    def kept(**parts: Any) -> comparison.Still:
        stills.append(still_of(**parts))
        return stills[-1]

    monkeypatch.setattr(comparison, "paste_faces", counted)
    monkeypatch.setattr(comparison, "Still", kept)
    monkeypatch.setattr(comparison, "BATCH", 2)
    arguments = ["--checkpoint_path", checkpoint, "--face", face, "--audio", SPEECH]
    arguments += ["--outfile", tmp_path / "page.html", "--max_seconds", "1.5", "--moments", "1"]
    arguments += ["--blur_intensity", "50"]  # even: rounded up, as the command does
    assert compare.main([*map(str, arguments)]) == 0
    assert "feather 51 px" in (tmp_path / "page.html").read_text()
    assert max(sizes) <= comparison.BATCH < sum(sizes) / 2 / len(BLENDS)
    assert stills
    for picture in (picture for still in stills for picture in (still.source, *still.modes.values())):
        assert picture.untyped_storage().nbytes() == picture.numel(), "a view would hold its batch"


def test_of_a_long_clip_few_stills_are_kept_and_they_are_spread(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "BATCH", 1)
    still_of, made = comparison.Still, []
    alive: list[int] = []
    shown: list[int] = []

    def watched(**parts: Any) -> comparison.Still:
        still = still_of(**parts)
        made.append(weakref.ref(still))
        alive.append(sum(one() is not None for one in made))
        return still

    def page_of(title: str, how: str, result: Comparison) -> str:
        shown.extend(still.frame for still in result.stills)
        return page(title, how, result)

    monkeypatch.setattr(comparison, "Still", watched)
    monkeypatch.setattr("gpu_lipsync.judging.compare_page.page", page_of)
    arguments = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", SPEECH]
    arguments += ["--outfile", tmp_path / "page.html", "--max_seconds", "2", "--moments", "2"]
    assert compare.main([*map(str, arguments)]) == 0
    assert 8 < len(made) < 50 and max(alive) <= 4 * 2  # of 50 batches
    assert shown == pytest.approx([50 / 4, 50 * 3 / 4], abs=8)  # of every eighth frame


def test_a_checkpoint_of_nan_is_an_error_and_not_a_perfect_blend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {
        name: value * float("nan") for name, value in Wav2Lip(0.125).state_dict().items() if value.is_floating_point()
    }
    torch.save(Wav2Lip(0.125).state_dict() | state, tmp_path / "nan.pth")
    arguments = ["--checkpoint_path", tmp_path / "nan.pth", "--face", FACE, "--audio", SPEECH]
    assert compare.main([*map(str, [*arguments, "--outfile", tmp_path / "page.html", "--max_seconds", "1"])]) == 5
    assert "not numbers" in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def test_the_mask_s_flags_count(checkpoint: Path, tmp_path: Path) -> None:
    """The page into a folder that is not there yet, the sound from a file whose name is no UTF-8."""
    out = tmp_path / "new" / "page.html"
    speech = shutil.copy(SPEECH, tmp_path / os.fsdecode(b"speech\xff.wav"))
    arguments = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", speech]
    arguments += ["--outfile", out, "--max_seconds", "0.5", "--moments", "1"]
    changed = []
    for region in ("0.2", "0.6"):
        assert compare.main([*map(str, arguments), "--mouth_region_size", region]) == 0
        text = out.read_text(encoding="utf-8")
        assert f"mouth region {region}, feather 51 px" in text and r"speech\udcff.wav" in text
        source, ellipse = shown_in(text)[:2]
        changed.append(int((source != ellipse).any(axis=2).sum()))
    assert 0 < changed[0] < changed[1] / 2, "a third of the size is about a ninth of the pixels, feather aside"


def test_every_flag_of_the_blend_counts_and_is_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def compared(*_: object, **how: Any) -> Comparison:
        asked.update(how)
        return Comparison(n_frames=1, figures={}, stills=[])

    monkeypatch.setattr(comparison, "compare", compared)
    arguments = [
        "--checkpoint_path",
        checkpoint,
        "--face",
        FACE,
        "--audio",
        SPEECH,
        "--outfile",
        tmp_path / "page.html",
    ]
    flags = ["--mouth_region_size", "0.3", "--blur_intensity", "15", "--sharpen_mouth", "--sharpen_amount", "1.5"]
    flags += ["--keep_detail", "no"]
    assert compare.main([*map(str, arguments), *flags, "--moments", "12"]) == 0  # the most
    assert asked["moments"] == 12
    assert asked["settings"] == BlendConfig(
        mouth_region_size=0.3, blur_intensity=15, sharpen_mouth=True, sharpen_amount=1.5
    )
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "; mouth region 0.3, feather 15 px, sharpened by 1.5, no detail of the face kept: 1 frames" in text


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--face": "missing.mp4"}, 3, "missing.mp4"),
        ({"--audio": "missing.wav"}, 3, "missing.wav"),
        ({"--checkpoint_path": "missing.pth"}, 5, "missing.pth"),
        ({"--moments": "0"}, 2, "got 0"),
        ({"--moments": "13"}, 2, "got 13"),
        ({"--max_seconds": "nan"}, 2, "got nan"),
        ({"--mouth_region_size": "2"}, 2, "got 2.0"),
        ({"--outfile": f"{SAMPLES}/face.mp4/page.html", "--checkpoint_path": "missing"}, 6, "face.mp4 is a file"),
        ({"--outfile": f"{SAMPLES}/face.mp4", "--checkpoint_path": "missing"}, 2, "face are the same file"),
    ],
)
def test_bad_input(
    change: dict[str, str],
    code: int,
    message: str,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arguments = {
        "--checkpoint_path": str(checkpoint),
        "--face": str(FACE),
        "--audio": str(SPEECH),
        "--outfile": str(tmp_path / "page.html"),
        "--max_seconds": "0.5",
    }
    assert compare.main([word for pair in (arguments | change).items() for word in pair]) == code
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
