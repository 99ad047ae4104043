"""The command line: arguments in, exit code out. `commands.codes` says what it means.

Parsing is light; whatever takes part in a run is imported by its command, after the process has
become a gevent process.
"""

import argparse
import sys
from collections.abc import Sequence

from loadtest.commands import capacity, codes, compare, listing, run, sweep, worker
from loadtest.commands.options import BadOption
from loadtest.errors import RunFailed
from loadtest.scenario.schema import BadScenario


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        if not getattr(arguments, "is_plain", False):
            # Before anything imports sockets or starts a thread.
            from loadtest.fabric import greenlets  # noqa: PLC0415

            greenlets.install()
        return int(arguments.execute(arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("loadtest"):
            raise
        _say(f"{error.name} is not installed; pip install 'heed[loadtest]'")
        return codes.FAILED
    except (BadScenario, BadOption) as error:
        _say(str(error))
        return codes.USAGE
    except RunFailed as error:
        _say(str(error))
        return codes.FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return codes.FAILED


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command; each sets `execute`."""
    whole = argparse.ArgumentParser(
        prog="heed-load",
        description="Measure latency and throughput of an inference server, with a verdict.",
    )
    commands = whole.add_subparsers(dest="command", required=True)
    for command in (run, capacity, sweep, compare, worker, listing):
        command.add(commands)
    return whole


def _say(text: str) -> None:
    sys.stderr.write(f"heed-load: {text}\n")
