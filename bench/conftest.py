"""`--quick`: each benchmark once, most of them on fewer frames, for CI."""

import pytest

from bench import measure


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="each benchmark once, on fewer frames")


def pytest_configure(config: pytest.Config) -> None:
    measure.quick = bool(config.getoption("--quick"))
