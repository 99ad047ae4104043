"""Marks each test by its folder, and gives every test the same small helpers."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(ROOT).parts[0]
        item.add_marker(folder)


@pytest.fixture(autouse=True)
def _no_heed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own HEED_ variables must not reach the servers under test."""
    for name in [name for name in os.environ if name.startswith("HEED_")]:
        monkeypatch.delenv(name)
