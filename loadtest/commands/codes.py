"""Exit codes of heed-load."""

from typing import Final

OK: Final = 0
"""VALID, and a bound holds where one is asked for."""
FAILED: Final = 1
"""It could not be done."""
USAGE: Final = 2
INVALID: Final = 3
OVER: Final = 4
"""VALID, and the bound is exceeded; of a comparison: worse."""

MEANING: Final = (
    "exit codes: 0 VALID and within the bound, 1 could not be done, 2 usage, 3 INVALID,"
    " 4 VALID but over the bound"
)
