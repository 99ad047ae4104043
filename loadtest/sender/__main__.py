"""A sending process: `python -m loadtest.sender`. See order.py for what it reads and writes."""

import os
import signal
import sys


def main() -> int:
    """Take over the standard streams, then serve."""
    # Ctrl-C in a terminal reaches every process of the group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints shall not come between the frames.
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Read by gRPC when it is first imported. With its event engine every read passes through a
    # thread pool: more CPU, and 0.1 to 0.2 ms more on every call. Whoever sets it knows better.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

    from loadtest.sender.process import serve  # noqa: PLC0415  after all of that

    return serve(sys.stdin.buffer, frames)


if __name__ == "__main__":
    CODE = main()
    sys.stderr.flush()
    # A thread still reads from the parent; an interpreter that shuts down would trip over it.
    os._exit(CODE)
