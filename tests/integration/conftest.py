"""Tiny repositories and shared servers; tests that stop or break theirs start their own."""

from collections.abc import Iterator
from pathlib import Path

import bundles
import pytest
from loopback import Target, serve

from server.repository.manifest import Labels

FIXED_HEIGHT = 2


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    bundles.build_encoder(root)
    return root


@pytest.fixture(scope="session")
def target(repository: Path) -> Iterator[Target]:
    with serve(repository, "--max-request-sequences", "16") as running:
        yield running


@pytest.fixture(scope="session")
def text_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of text bundle beside the embedding one."""
    root = tmp_path_factory.mktemp("text")
    bundles.build_topics(root)
    bundles.build_tagger(root)
    bundles.build_reader(root)
    bundles.build_filler(root)
    bundles.build_ranker(root)
    bundles.build_judge(root)
    bundles.build_classifier(root, "grader", "classify", Labels(("clarity", "tone"), "regression"))
    bundles.build_sparse(root)
    bundles.build_late(root)
    return root


@pytest.fixture(scope="session")
def text_target(text_kinds: Path) -> Iterator[Target]:
    with serve(text_kinds, "--max-request-sequences", "16") as running:
        yield running


@pytest.fixture(scope="session")
def row_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of whole rows, of free and of fixed shape."""
    root = tmp_path_factory.mktemp("rows")
    bundles.build_rows(root)
    bundles.build_rows(root, "pictures", FIXED_HEIGHT)
    return root


@pytest.fixture(scope="session")
def row_target(row_kinds: Path) -> Iterator[Target]:
    with serve(row_kinds, "--max-request-sequences", "16") as running:
        yield running
