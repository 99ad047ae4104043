"""The command line of `heed-export`: parse, run, print, exit code.

Exit code 0: the bundle is published, its path is on standard output. 1: it is not, and one line on
standard error says what to change. 2: usage. 130: interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from export import supported
from server.errors import ServeError

COMMANDS = ("verify", "compare", "list")
"""First words that are not a MODEL. A directory of such a name is written ./verify."""

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words and words[0] in COMMANDS else "export"
    parse, run = _COMMANDS[command]
    try:
        options = parse().parse_args(words)
        # Bring torch: seconds that --help and usage errors need not take.
        from export.errors import ExportFailed  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed; pip install 'heed[export,cpu]'")
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(options)
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed; pip install 'heed[export,cpu]'")
    except (ExportFailed, ServeError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"cannot read or write: {error}; nothing was published")
    except KeyboardInterrupt:
        _failed("interrupted; nothing was published")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _export(options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415

    from export import pipeline  # noqa: PLC0415
    from export.progress import Progress  # noqa: PLC0415

    request = pipeline.Request(
        model=options.model,
        task=options.task,
        name=options.name,
        version=options.version,
        out=options.out,
        force=options.force,
        external_data=options.external_data,
        precision=options.precision,
        budget=options.budget,
        explain=options.explain,
        allow_unfused=options.allow_unfused,
        measure=options.measure,
        tower=options.tower,
        dimensions=options.dimensions,
        max_tokens=options.max_tokens,
        eval_file=options.eval,
        work=options.work,
    )
    console = Console(stderr=True)
    bundle, report = pipeline.run(request, Progress(console))
    console.print(report.table())
    sys.stdout.write(f"{bundle.path}\n")
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _failed(reason: str) -> int:
    # One line, whatever a library put into its message.
    sys.stderr.write(f"heed-export: {' '.join(reason.split())}\n")
    return 1


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heed-export",
        description="Export a transformer checkpoint as an ONNX bundle with fused attention.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="hub id, checkpoint directory, or minilm for the embedded all-MiniLM-L6-v2",
    )
    parser.add_argument(
        "--task", help="what the bundle answers, in heed's or optimum's words (default: from MODEL)"
    )
    parser.add_argument("--name", help="bundle name (default: from MODEL)")
    parser.add_argument("--version", type=_version, default=1, help="bundle version (default: 1)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8", "int4"),
        default="fp32",
        help="of the weights (default: fp32)",
    )
    parser.add_argument(
        "--budget",
        type=_fraction,
        metavar="LOSS",
        help="largest mean loss, 1 - cosine to PyTorch, that a precision may cost; layers that "
        "cost too much stay in float",
    )
    parser.add_argument(
        "--eval", type=Path, metavar="FILE", help="JSON Lines of the task to measure quality with"
    )
    parser.add_argument(
        "--explain", action="store_true", help="add a graph that returns attention probabilities"
    )
    parser.add_argument(
        "--allow-unfused",
        action="store_true",
        help="export attention that cannot be fused in pieces, and say so in the card",
    )
    parser.add_argument(
        "--no-measure",
        dest="measure",
        action="store_false",
        help="publish the graph as traced, without comparing forms by time",
    )
    parser.add_argument("--tower", choices=("text", "vision"), help="of a model that has two")
    parser.add_argument(
        "--dimensions", type=_version, help="cut embeddings to their first values (Matryoshka)"
    )
    parser.add_argument(
        "--max-tokens", type=_version, help="longest sequence, if less than the model's own"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="model repository (default: models)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing version")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep the traced graph and PyTorch's answers here, and start from them next time",
    )
    parser.add_argument(
        "--external-data",
        choices=("auto", "always"),
        default="auto",
        help="weights in a file beside model.onnx; auto does so for large models (default: auto)",
    )
    return parser


def _version(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer of 1 or more")
    return int(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def _lazy(
    name: str,
) -> tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], int]]:
    """Return parser and run of a module that takes a second to import."""
    module = f"export.inspect.{name}"
    return (
        lambda: import_module(module).parser(),
        lambda options: import_module(module).run(options),
    )


_COMMANDS: dict[
    str,
    tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], int]],
] = {
    "export": (_export_parser, _export),
    "list": (supported.parser, supported.run),
    "verify": _lazy("verify"),
    "compare": _lazy("comparison"),
}
