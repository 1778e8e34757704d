"""The comparison as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable

import torch
from torch import Tensor

from gpu_lipsync.judging.comparison import Comparison, ModeFigures, Still

AMPLIFIED = 6  # times the difference, around middle grey

STYLE = """
:root { --zoom: 1; color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 120rem; padding: 0 1.5rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
p { margin: .3rem 0; max-width: 60rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.strip { display: flex; flex-wrap: wrap; gap: .8rem; margin-bottom: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; }
img { display: block; width: calc(var(--w) * var(--zoom) * 1px); height: calc(var(--h) * var(--zoom) * 1px); }
.pair { position: relative; display: inline-block; --cut: 50%; }
.pair img + img { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)); }
.pair::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 1px; background: #fff; }
.viewer input { display: block; width: calc(var(--w) * var(--zoom) * 1px); margin: .3rem 0; }
.viewer { margin-bottom: 1rem; }
label { margin-right: 1rem; }
"""

SCRIPT = """
for (const viewer of document.querySelectorAll('.viewer')) {
  const strip = viewer.parentElement.querySelector('.stills');
  const [near, far] = viewer.querySelectorAll('.pair img');
  const [left, right] = viewer.querySelectorAll('select');
  const show = () => {
    near.src = strip.querySelector(`[data-name="${left.value}"]`).src;
    far.src = strip.querySelector(`[data-name="${right.value}"]`).src;
  };
  left.onchange = right.onchange = show;
  viewer.querySelector('input').oninput = event =>
    viewer.querySelector('.pair').style.setProperty('--cut', event.target.value + '%');
  show();
}
document.querySelector('#zoom').onchange = event =>
  document.documentElement.style.setProperty('--zoom', event.target.value);
"""


def page(title: str, subtitle: str, shown: Comparison) -> str:
    """The whole page.

    Args:
        title: which clip, with which sound.
        subtitle: by which checkpoint, where.
        shown: what the modes made of it.
    """
    rows = "\n".join(_row(name, figures) for name, figures in shown.figures.items())
    moments = "\n".join(_moment(still) for still in shown.stills)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(subtitle)}: {shown.n_frames} frames in every blend mode.</p>
<table>
<tr><th>mode</th><th>seam, levels²</th><th>detail</th><th>ms / frame</th></tr>
{rows}
</table>
<p><b>Seam</b>: gradient energy where the blend ends, in excess of the source's; 0 cannot be seen, above 0 is an edge,
below 0 is missing detail. <b>Detail</b>: energy of the finest detail around the mouth, of the source's.
<b>ms / frame</b>: blending alone.</p>
<label>zoom <select id="zoom"><option value="1">1 ×</option><option value="2">2 ×</option>
<option value="3">3 ×</option></select></label>
{moments}
<script>{SCRIPT}</script>
</body></html>
"""


def _row(name: str, figures: ModeFigures) -> str:
    return (
        f"<tr><td>{name}</td><td>{figures.mean_seam:+.1f}</td><td>{figures.mean_detail:.0%}</td>"
        f"<td>{figures.milliseconds:.2f}</td></tr>"
    )


def _moment(still: Still) -> str:
    height, width = still.source.shape[1:]
    shown = {"source": still.source, **still.modes}
    pictures = "".join(_figure(name, _data(picture)) for name, picture in shown.items())
    changes = "".join(
        _figure(f"{name} − source, × {AMPLIFIED}", _data(_difference(still.source, picture)))
        for name, picture in still.modes.items()
    )
    return f"""<section style="--w: {width}; --h: {height}">
<h2>frame {still.frame}</h2>
<div class="viewer">
<label>left {_choice(shown, "source")}</label><label>right {_choice(shown, "ellipse")}</label>
<input type="range" min="0" max="100" value="50" step="0.5" aria-label="where left meets right">
<div class="pair"><img alt="left"><img alt="right"></div>
</div>
<div class="strip stills">{pictures}</div>
<div class="strip">{changes}</div>
</section>"""


def _choice(names: Iterable[str], chosen: str) -> str:
    return (
        "<select>"
        + "".join(f"<option{' selected' if name == chosen else ''}>{name}</option>" for name in names)
        + "</select>"
    )


def _figure(name: str, data: str) -> str:
    return f'<figure><img src="{data}" data-name="{name}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def _difference(source: Tensor, picture: Tensor) -> Tensor:
    return ((picture.float() - source.float()) * AMPLIFIED + 128).round().clamp(0, 255).to(torch.uint8)


def _data(picture: Tensor) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def png(picture: Tensor) -> bytes:
    """(3, H, W) uint8 RGB on the host to a PNG file's bytes."""
    height, width = picture.shape[1:]
    rows = picture.permute(1, 2, 0).reshape(height, width * 3).numpy()
    # Each row begins with its filter: 0, none.
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels, 6)) + chunk(b"IEND", b"")
    )
