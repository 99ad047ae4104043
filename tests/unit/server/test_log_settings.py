"""What is logged follows the settings, in any combination."""

import logging
from collections.abc import Iterator

import pytest

from server.errors import InvalidRequest, ServeError, Unsupported
from server.rpc.log_settings import LogLevels, Value

AT_INFO = {
    "log_file": "",
    "log_format": "default",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
}


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    # Settings are filters of handlers, and pytest's own handlers outlive a test.
    before = [(handler, handler.filters.copy()) for handler in logging.root.handlers]
    level, kept = logging.root.level, Kept()
    logging.root.addHandler(kept)
    logging.root.setLevel(logging.INFO)
    yield kept
    logging.root.removeHandler(kept)
    logging.root.setLevel(level)
    for handler, filters in before:
        handler.filters[:] = filters


def say_everything() -> None:
    log = logging.getLogger("server.somewhere")
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)(level)


def test_settings_begin_with_the_level_of_the_server(kept: Kept) -> None:
    assert LogLevels().settings() == AT_INFO
    assert kept.messages == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["info", "warning", "error", "critical"]),
        ({"log_info": False}, ["warning", "error", "critical"]),
        ({"log_warning": False}, ["info", "error", "critical"]),
        ({"log_verbose_level": 2}, ["debug", "info", "warning", "error", "critical"]),
        ({"log_info": False, "log_warning": False, "log_error": False}, []),
        ({"log_info": None}, ["info", "warning", "error", "critical"]),
        ({"log_file": ""}, ["info", "warning", "error", "critical"]),
    ],
)
def test_changes_are_in_force_at_once(
    kept: Kept, changes: dict[str, Value | None], expected: list[str]
) -> None:
    levels = LogLevels()

    levels.update(changes)
    say_everything()

    assert kept.messages == expected


def test_changes_can_be_taken_back(kept: Kept) -> None:
    levels = LogLevels()
    levels.update({"log_error": False, "log_info": False, "log_verbose_level": 3})

    levels.update({"log_error": True, "log_info": True, "log_verbose_level": 0})
    say_everything()

    assert levels.settings() == AT_INFO
    assert kept.messages == ["info", "warning", "error", "critical"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"log_everything": True}, InvalidRequest),
        ({"log_info": 1}, InvalidRequest),
        ({"log_info": "true"}, InvalidRequest),
        ({"log_verbose_level": True}, InvalidRequest),
        ({"log_file": "/tmp/log"}, Unsupported),  # noqa: S108  (never written)
        ({"log_format": "ISO8601"}, Unsupported),
    ],
)
def test_bad_settings_change_nothing(
    kept: Kept, changes: dict[str, Value | None], kind: type[ServeError]
) -> None:
    levels = LogLevels()

    with pytest.raises(kind):
        levels.update({"log_warning": False} | changes)

    assert levels.settings() == AT_INFO
    assert kept.messages == []
