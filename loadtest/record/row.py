"""One row per call: what was due, sent, first answered and done, how it ended, where time went.

The same fixed layout crosses from the sending process, lies in `calls.npz`, and is what all
arithmetic reads. docs/calls.md documents it; `SCHEMA_VERSION` changes with it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION: Final = 2
MISSING: Final = -1
"""A timing or a size that the server did not send."""
WARMUP: Final = -1
"""Phase of a call that was due before the measured time."""
WRONG_ANSWER: Final = 100
"""Not a gRPC code: the call ended OK, but its answer is not one to the question."""

ROW: Final = np.dtype(
    [
        ("index", "<i8"),  # position in the schedule of the whole run, all workers together
        ("scheduled_ns", "<i8"),  # since instant 0, the beginning of warm-up
        ("sent_ns", "<i8"),
        ("first_ns", "<i8"),  # first message of the answer; equal to done_ns for unary calls
        ("done_ns", "<i8"),
        ("code", "<i2"),  # gRPC's, or WRONG_ANSWER
        ("worker", "<i2"),  # which sending process
        ("phase", "<i2"),  # WARMUP, or the number of the phase in which the call was due
        ("request", "<i2"),  # which kind of the scenario's requests
        ("payload", "<i4"),  # which of the prepared bodies
        ("texts", "<i4"),
        ("tokens", "<i4"),
        ("response_bytes", "<i4"),
        ("tokenize_ns", "<i8"),  # this and the rest: the server's own account
        ("queue_ns", "<i8"),
        ("run_ns", "<i8"),
        ("total_ns", "<i8"),
        ("batch_sequences", "<i4"),
        ("batch_tokens", "<i4"),
    ]
)

Rows = npt.NDArray[np.void]
Column = npt.NDArray[np.int64]
