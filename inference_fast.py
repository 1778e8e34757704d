#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

from gpu_lipsync.cli import command

if __name__ == "__main__":
    command()
