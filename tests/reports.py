"""A run's report, as it is before any frame."""

from gpu_lipsync.report import Report


def fresh_report(batch_size: int) -> Report:
    return Report(
        outfile="o", device="cpu", decoder="", encoder="", precision="", width=160, height=160, fps="25",
        batch_size=batch_size,
    )  # fmt: skip
