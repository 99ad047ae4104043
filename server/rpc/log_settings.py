"""How much is logged, changed while serving. Acts on the handlers of the root logger."""

import logging
from collections.abc import Mapping

from server.errors import InvalidRequest, Unsupported
from server.rpc import tracing

Value = bool | int | str

LEVELS = {
    "log_verbose_level": logging.DEBUG,
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}
"""Setting -> the least severe messages that it is about."""
FIXED: dict[str, Value] = {"log_file": "", "log_format": "default"}
NOTHING = logging.CRITICAL + 1


class LogLevels(logging.Filter):
    """Lets through what the settings say, which need not be all from some severity on."""

    def __init__(self) -> None:
        super().__init__()
        lowest = logging.root.getEffectiveLevel()
        self._is_on = {name: level >= lowest for name, level in LEVELS.items()}
        self._verbose = int(self._is_on["log_verbose_level"])
        for handler in logging.root.handlers:
            handler.addFilter(self)

    def settings(self) -> dict[str, Value]:
        """Return what is in force."""
        values: dict[str, Value] = {name: self._is_on[name] for name in LEVELS}
        return FIXED | values | {"log_verbose_level": self._verbose}

    def update(self, changes: Mapping[str, Value | None]) -> None:
        """Change settings; None leaves one as it is.

        Raises:
            InvalidRequest: an unknown setting or a value of the wrong type. Nothing is changed.
            Unsupported: a setting that cannot be changed.
        """
        values = {name: value for name, value in changes.items() if _is_change(name, value)}
        if not values:
            return
        verbose = values.get("log_verbose_level")
        if isinstance(verbose, int):
            self._verbose = verbose
        self._is_on |= {name: bool(value) for name, value in values.items()}
        wanted = [level for name, level in LEVELS.items() if self._is_on[name]]
        logging.root.setLevel(min(wanted, default=NOTHING))

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is logged. Traces were asked for by themselves."""
        if record.name == tracing.NAME:
            return True
        name = max(
            (name for name, level in LEVELS.items() if level <= record.levelno),
            key=LEVELS.__getitem__,
            default="log_verbose_level",
        )
        return self._is_on[name]


def _is_change(name: str, value: Value | None) -> bool:
    if name not in LEVELS and name not in FIXED:
        raise InvalidRequest(f"log setting '{name}' is unknown; use {', '.join((*LEVELS, *FIXED))}")
    if value is None:
        return False
    expected = str if name in FIXED else int if name == "log_verbose_level" else bool
    if type(value) is not expected:
        kind = {bool: "bool", int: "uint32", str: "string"}[expected]
        raise InvalidRequest(f"log setting '{name}' must be {kind}")
    if name in FIXED and value != FIXED[name]:
        raise Unsupported(
            f"log setting '{name}' cannot be changed: the log is JSON lines on standard error"
        )
    return name not in FIXED
