"""What a training run tells of itself: its log, pictures of its losses and of what the generator makes of a batch."""

import json
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools.demo_batches import Batch


def drop_records(out: Path, *, after: int) -> None:
    """Take the steps after one from log.jsonl: a run that goes on from there does them again."""
    log = out / "log.jsonl"
    if not log.is_file():
        return
    log.write_text("".join(f"{json.dumps(record)}\n" for record in _records(log) if record["step"] <= after))


def _records(log: Path) -> list[dict[str, float]]:
    """What is in log.jsonl; a last line that was cut off as it was written is none."""
    lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def draw_losses(out: Path) -> None:
    """Write loss.png from log.jsonl, which a run has from its twentieth step on; before that an empty one."""
    from matplotlib.figure import Figure

    log = out / "log.jsonl"
    records = _records(log)
    figure = Figure(figsize=(9, 5))
    axes = figure.add_subplot()
    for name in ("mouth", "l1", "small", "edges", "detail"):
        points = [(record["step"], record[name]) for record in records if name in record]
        if points:
            axes.semilogy(*zip(*points, strict=True), label=name, linewidth=0.8)
    axes.set_xlabel("step")
    if records:
        axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(out / "loss.png", dpi=80)


@torch.inference_mode()
def draw_faces(out: Path, weights: dict[str, Tensor], batch: Batch, *, width: float) -> None:
    """Write faces.png: a column per face; reference, target, result."""
    from torchvision.io import write_png

    generator = Wav2Lip(width).to(batch.mel.device).eval()
    generator.load_state_dict(weights)
    rows = (batch.reference, batch.faces, generator(batch.mel, batch.faces, batch.reference))
    picture = torch.cat([torch.cat(tuple(row), dim=2) for row in rows], dim=1)
    write_png((picture * 255).round().clamp(0, 255).to(torch.uint8).cpu(), str(out / "faces.png"))
