"""What a run tells: its report, as it is before any frame, and somebody who listens."""

from gpu_lipsync.progress import Silent
from gpu_lipsync.report import Report


def fresh_report(batch_size: int) -> Report:
    return Report(
        outfile="o", device="cpu", decoder="", encoder="", precision="", width=160, height=160, fps="25",
        batch_size=batch_size,
    )  # fmt: skip


class Listener(Silent):
    """Keeps the lines that were told, and how many frames were to come at each beginning."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun: list[int] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, n_frames: int) -> None:
        self.begun.append(n_frames)
