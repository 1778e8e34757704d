"""Checks of values, for the settings' dataclasses. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from gpu_lipsync.errors import ConfigError

_MOST = 2**31 - 1  # pixels and frames are counted in 32 bits somewhere, or become floats, which larger ones overflow
Sides = tuple[int, int, int, int]  # top, bottom, left, right


def require(holds: bool, name: str, value: object, accepted: str) -> None:
    """Raise ConfigError with the setting's value and what it should be, unless it holds."""
    if not holds:
        raise ConfigError(f"{name} must be {accepted}, got {value}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, name, repr(value), f"one of {', '.join(choices)}")


def require_kinds(config: Any) -> None:
    """Raise ConfigError where a dataclass's value is not of its default's kind.

    The command line's are; a program could give "False", which is true, or 1.5 frames. Words have choices of
    their own.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(field.default, bool):
            require(isinstance(value, bool), field.name, repr(value), "True or False")
        elif isinstance(field.default, int):
            require(_is_whole(value), field.name, repr(value), "a whole number")
        elif isinstance(field.default, float):
            require(isinstance(value, Real) and not isinstance(value, bool), field.name, repr(value), "a number")
        elif isinstance(field.default, str) and "Path" not in str(field.type):
            require(isinstance(value, str), field.name, repr(value), "a word")
        elif isinstance(field.default, tuple):
            _require_sides(field.name, value)


def require_path(name: str, value: object) -> None:
    """Raise ConfigError unless the value can be the path of a file."""
    require(isinstance(value, (str, Path)) and str(value) != "", name, repr(value), "the path of a file")
    try:
        encoded = os.fsencode(str(value))
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON may hold
        encoded = b"\0"
    require(b"\0" not in encoded, name, repr(str(value)), "a path that files can have: no NUL, and valid Unicode")


def _require_sides(name: str, sides: Any) -> None:
    four = isinstance(sides, (tuple, list)) and len(sides) == 4 and all(map(_is_whole, sides))
    require(four, name, _spaced(sides), "four whole numbers, top bottom left right")
    require(all(abs(side) <= _MOST for side in sides), name, _spaced(sides), f"numbers from -{_MOST} to {_MOST}")


def require_count(name: str, value: int) -> None:
    """Raise ConfigError unless a number is 1 or more, and such as can be counted to."""
    require(value >= 1, name, value, "1 or more")
    require(value <= _MOST, name, value, f"1 to {_MOST}")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _spaced(sides: Any) -> str:
    return " ".join(map(str, sides)) if isinstance(sides, (tuple, list)) else repr(sides)
