"""What every exam of the generator needs of the machine."""

from collections.abc import Iterator

import exam
import pytest


@pytest.fixture(scope="session", autouse=True)
def awake() -> Iterator[None]:
    """Cores that do not halt, as a machine has that is set up to measure."""
    with exam.awake():
        yield
