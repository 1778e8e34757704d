"""The comparison page in headless Chromium: its slider, choices and zoom used, its pixels looked at."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_lipsync import compare
from gpu_lipsync.blend_kernels import BLENDS
from gpu_lipsync.judging.compare_page import page
from gpu_lipsync.judging.comparison import Comparison, ModeFigures, Still
from tests.places import FACE, SPEECH

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 120, 80
COLOURS = {name: (40 + 30 * i, 200 - 25 * i, 90) for i, name in enumerate(("source", *BLENDS))}
ROOM = (1600, 2400)  # of the window: width, height
# Errors end up in the title as well: a page that fails must not pass for one that was not asked.
USE = """
<script>
window.onerror = message => { document.title = 'error: ' + message; };
const [first, second] = document.querySelectorAll('.viewer');
const set = (element, value, event) => { element.value = value; element.dispatchEvent(new Event(event)); };
set(document.querySelector('#zoom'), '2', 'change');
set(second.querySelectorAll('select')[0], 'guided', 'change');
set(second.querySelectorAll('select')[1], 'hd', 'change');
set(second.querySelector('input'), '25', 'input');
const box = viewer => { const r = viewer.querySelector('.pair').getBoundingClientRect();
  return [r.left, r.top, r.width, r.height]; };
document.title = JSON.stringify({pairs: [box(first), box(second)], across: document.documentElement.scrollWidth});
</script>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed here")
    return found


def looked_at(browser: str, file: Path, *how: str) -> str:
    """Open the file; what Chromium prints."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={file.parent / 'profile'}", f"--window-size={ROOM[0]},{ROOM[1]}", *how, file.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def test_slider_choices_and_zoom_show_what_they_say(browser: str, tmp_path: Path) -> None:
    plain = {
        name: torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, HEIGHT, WIDTH)
        for name, colour in COLOURS.items()
    }
    stills = [
        Still(frame=frame, source=plain["source"], modes={name: plain[name] for name in BLENDS}) for frame in (0, 7)
    ]
    figures = {name: ModeFigures([0.001], [0.0], [1.0]) for name in BLENDS}
    file = tmp_path / "page.html"
    file.write_text(page("t", "s", Comparison(n_frames=8, figures=figures, stills=stills)) + USE, "utf-8")

    title = re.search(r"<title>(.*?)</title>", looked_at(browser, file, "--dump-dom"), re.DOTALL)
    assert title is not None
    seen = json.loads(title[1])  # an error's message is no JSON
    assert seen["across"] <= ROOM[0], "nothing sticks out sideways"
    for _, _, width, height in seen["pairs"]:
        assert (width, height) == (2 * WIDTH, 2 * HEIGHT)

    looked_at(browser, file, f"--screenshot={tmp_path / 'page.png'}")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    expected = (("source", "ellipse", 50), ("guided", "hd", 25))  # untouched, and as USE set it
    for (left, top, width, height), (near, far, cut) in zip(seen["pairs"], expected, strict=True):
        row = picture[int(top + height / 2), int(left) : int(left + width)]
        line = round(width * cut / 100)
        # All but the pixels beside the dividing line, and at the ends, which need not lie on whole pixels.
        assert (row[2 : line - 2] == COLOURS[near]).all() and (row[line + 3 : -2] == COLOURS[far]).all()


def test_the_command_s_page_shows_its_pictures(browser: str, checkpoint: Path, tmp_path: Path) -> None:
    """What `compare` writes of a real clip: all its pictures decode, at their own size, and the slider works."""
    file = tmp_path / "page.html"
    arguments = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", SPEECH]
    arguments += ["--outfile", file, "--max_seconds", "0.5", "--moments", "1"]
    assert compare.main([*map(str, arguments)]) == 0
    look = """
<script>
window.onerror = message => { document.title = 'error: ' + message; };
window.onload = () => {
  const [pair] = document.querySelectorAll('.pair');
  const slider = document.querySelector('input[type=range]');
  const cut = () => getComputedStyle(pair.querySelectorAll('img')[1]).clipPath;
  const before = cut(); slider.value = '10'; slider.dispatchEvent(new Event('input'));
  document.title = JSON.stringify({sizes: [...document.images].map(i => [i.naturalWidth, i.naturalHeight]),
    moved: before !== cut(), across: document.documentElement.scrollWidth});
};
</script>
"""
    file.write_text(file.read_text("utf-8") + look, "utf-8")
    title = re.search(r"<title>(.*?)</title>", looked_at(browser, file, "--dump-dom"), re.DOTALL)
    assert title is not None
    seen = json.loads(title[1])
    assert seen["across"] <= ROOM[0] and seen["moved"]
    assert len(seen["sizes"]) == 2 + 1 + 2 * len(BLENDS) and len({tuple(size) for size in seen["sizes"]}) == 1
    assert min(seen["sizes"][0]) > 100
