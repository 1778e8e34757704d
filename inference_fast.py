#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  this file alone is written so that any Python can read it, 2.7 too
        which = "Python " + ".".join(map(str, sys.version_info[:3])) + " (" + str(sys.executable) + ")"
        way_out = "which needs 3.11 or newer; use .venv/bin/python, which `make demo` makes"
        sys.stderr.write("error: " + which + " cannot run this, " + way_out + "\n")
        sys.exit(2)

    from gpu_lipsync.entry import command

    command()
