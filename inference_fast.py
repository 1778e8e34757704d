#!/usr/bin/env python3
"""Lip-sync a face to speech; `python inference_fast.py --help` lists the flags."""

if __name__ == "__main__":
    from gpu_lipsync.entry import command

    command()
