"""The command line of `heed-export`: parse, run, print, exit code.

Exit code 0: the bundle is published, its path is on standard output. 1: it is not, and one line on
standard error says what to change. 2: usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from server.errors import ServeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one export and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        # Brings torch: seconds that --help and usage errors need not take.
        from rich.console import Console  # noqa: PLC0415

        from export import pipeline  # noqa: PLC0415
        from export.errors import ExportFailed  # noqa: PLC0415
        from export.progress import Progress  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed; pip install 'heed[export,cpu]'")
    request = pipeline.Request(
        model=options.model,
        task=options.task,
        name=options.name,
        version=options.version,
        out=options.out,
        force=options.force,
        external_data=options.external_data,
    )
    console = Console(stderr=True)
    try:
        bundle, report = pipeline.run(request, Progress(console))
    except (ExportFailed, ServeError) as error:
        return _failed(str(error))
    console.print(report.table())
    sys.stdout.write(f"{bundle.path}\n")
    return 0


def _failed(reason: str) -> int:
    # One line, whatever a library put into its message.
    sys.stderr.write(f"heed-export: {' '.join(reason.split())}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heed-export",
        description="Export a transformer checkpoint as an ONNX bundle with fused attention.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="hub id, checkpoint directory, or minilm for the embedded all-MiniLM-L6-v2",
    )
    parser.add_argument("--task", choices=("embed",), required=True, help="what the bundle answers")
    parser.add_argument("--name", help="bundle name (default: from MODEL)")
    parser.add_argument("--version", type=_version, default=1, help="bundle version (default: 1)")
    parser.add_argument(
        "--precision", choices=("fp32",), default="fp32", help="of the weights (default: fp32)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="model repository (default: models)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing version")
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
