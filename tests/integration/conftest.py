"""One tiny repository and one shared server; tests that stop or break theirs start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import build_encoder
from loopback import Target, serve


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    build_encoder(root)
    return root


@pytest.fixture(scope="session")
def target(repository: Path) -> Iterator[Target]:
    with serve(repository, "--max-request-sequences", "16") as running:
        yield running
