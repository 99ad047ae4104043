"""Validate a repository without serving it: every bundle opened, verified, run once, one line each.

Each bundle is opened in a child process, `check --one`, so that one which crashes ONNX Runtime is
reported like any other. A server probes what joins it in the same way.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from time import monotonic

from server.config import ServerConfig
from server.errors import ConfigInvalid, ServeError
from server.probe import probe
from server.repository import index
from server.repository.bundle import open_bundle
from server.repository.index import Found
from server.rpc.listener import secured
from server.versions import parse as parse_policy


@dataclass(frozen=True, slots=True)
class Checked:
    """One bundle and how it did."""

    model: str
    version: int
    selected: bool
    """The version policy lets it serve."""
    problem: str
    """Empty for a sound bundle."""
    seconds: float
    task: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was checked."""

    problems: tuple[str, ...]
    """Of the configuration and the repository as a whole."""
    bundles: tuple[Checked, ...]

    @property
    def num_problems(self) -> int:
        """How many lines name a problem."""
        return len(self.problems) + sum(bool(one.problem) for one in self.bundles)


def main(config: ServerConfig, problems: Sequence[str], *, as_json: bool) -> int:
    """Check the repository and print the result; `problems` are the configuration's own.

    Returns 0 when all is sound and 1 otherwise.
    """
    report = asyncio.run(check(config, problems))
    if as_json:
        print(json.dumps(asdict(report) | {"num_problems": report.num_problems}))
    else:
        print(describe(report))
    return 1 if report.num_problems else 0


async def check(config: ServerConfig, problems: Sequence[str]) -> Report:
    """Open every version of the repository, one after the other."""
    problems = [*problems, *_of_files(config)]
    try:
        found = index.scan(config.models)
    except ConfigInvalid as error:
        return Report((*problems, str(error)), ())
    policy, _ = parse_policy(config.versions)
    selected, missing = index.select(found, policy)
    problems = [*problems, *(f"--versions: {problem}" for problem in missing)]
    return Report(tuple(problems), tuple([await _check(one, config, selected) for one in found]))


def _of_files(config: ServerConfig) -> list[str]:
    """Return what is wrong with the files of certificate and keys."""
    if bool(config.tls_cert) != bool(config.tls_key):
        return []  # the options say so themselves
    try:
        secured(config)
    except ConfigInvalid as error:
        return str(error).splitlines()
    return []


async def _check(found: Found, config: ServerConfig, selected: Iterable[Found]) -> Checked:
    started = monotonic()
    problem = task = precision = ""
    try:
        manifest = open_bundle(found.path).manifest
        task, precision = manifest.task, manifest.precision
        await probe(found.path, config)
    except ServeError as error:
        problem = str(error)
    return Checked(
        model=found.name,
        version=found.version,
        selected=found in selected,
        problem=problem,
        seconds=round(monotonic() - started, 3),
        task=task,
        precision=precision,
    )


def describe(report: Report) -> str:
    """Return the report as lines that a person can read, a bundle on each."""
    lines = [f"wrong   {problem}" for problem in report.problems]
    for one in report.bundles:
        serves = "" if one.selected else ", not selected"
        what = f"{one.task} {one.precision}, {one.seconds:.1f} s"
        state = "broken" if one.problem else "sound "
        said = one.problem.replace("\n", "; ") if one.problem else what
        lines.append(f"{state}  {one.model}/{one.version}{serves}  {said}")
    counts = {"bundle": len(report.bundles), "problem": report.num_problems}
    lines.append(", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items()))
    return "\n".join(lines)
