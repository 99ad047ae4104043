"""Names of recorded codes, as gRPC writes them. Needs no gRPC."""

from typing import Final

from loadtest.record.row import WRONG_ANSWER

_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By number, 0 first (gRPC's status codes)."""


def code_name(code: int) -> str:
    """Return the name of a recorded code; of an unknown one its number."""
    if code == WRONG_ANSWER:
        return "WRONG_ANSWER"
    return _NAMES[code] if 0 <= code < len(_NAMES) else f"CODE_{code}"
