"""Say what was exported and what was proven: `report.json`, `report.md` and a table.

Derives everything from the manifest and the durations of the steps; decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from server.repository.manifest import Manifest, Quality


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one export."""

    manifest: Manifest
    durations_s: Mapping[str, float]

    @property
    def notes(self) -> Sequence[str]:
        """What the reader should know about choices made."""
        return self.manifest.card.notes

    def write(self, directory: Path) -> None:
        """Write both forms beside the bundle's files."""
        (directory / "report.md").write_text(self._markdown(), encoding="utf-8")
        data = {
            "bundle": f"{self.manifest.name}/{self.manifest.version}",
            "facts": dict(self._facts()),
            "card": self.manifest.card,
            "durations_s": {step: round(s, 2) for step, s in self.durations_s.items()},
        }
        encoded = msgspec.json.format(msgspec.json.encode(data), indent=2)
        (directory / "report.json").write_bytes(encoded + b"\n")

    def table(self) -> Table:
        """Return the same facts for a terminal."""
        table = Table(title=f"{self.manifest.name} version {self.manifest.version}")
        table.add_column("What")
        table.add_column("Value")
        for row in self._rows():
            table.add_row(*map(Text, row))
        for note in self.notes:
            table.add_row("note", Text(note))
        return table

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield from self._facts()
        yield from self._measured()
        yield from self._parity()

    def _facts(self) -> Iterator[tuple[str, str]]:
        manifest, card = self.manifest, self.manifest.card
        yield "source", card.source
        yield "task", manifest.task
        yield "family", manifest.family
        yield "precision", f"{manifest.precision}, measured on {manifest.isa}"
        pooling, limits = manifest.pooling, manifest.limits
        if pooling is not None:
            norm = ", normalised" if pooling.normalize else ""
            yield "embedding", f"{pooling.mode} pooling{norm}, {pooling.dimensions}"
        if manifest.labels is not None:
            yield "labels", f"{len(manifest.labels.names)}, {manifest.labels.kind}"
        if limits is not None:
            yield "tokens", f"at most {limits.max_tokens} a sequence"
        yield (
            "fused attention",
            f"{card.fused_nodes} of {card.attention_modules} modules, {card.fused_op or 'none'}",
        )
        if card.unfused:
            yield "NOT fused", ", ".join(card.unfused)
        if card.layout:
            yield "form", ", ".join(card.layout)
        if card.kept_float:
            yield "kept in float", ", ".join(card.kept_float)
        yield (
            "memory",
            (
                f"{card.peak_memory_bytes / 2**20:.0f} MiB at most, for a checkpoint of "
                f"{card.checkpoint_bytes / 2**20:.0f} MiB"
            ),
        )

    def _parity(self) -> Iterator[tuple[str, str]]:
        for parity in self.manifest.card.parity:
            value = f"{parity.difference:.1e} (at most {parity.tolerance:g}, {parity.measure})"
            yield f"parity {parity.case}", value

    def _measured(self) -> Iterator[tuple[str, str]]:
        for quality in self.manifest.card.quality:
            yield f"quality {quality.measure}", _quality(quality)
        for speed in self.manifest.card.speed:
            ratio = speed.unfused_ms / speed.run_ms
            yield (
                f"time of {speed.shape}",
                f"{speed.run_ms:.2f} ms, unfused {speed.unfused_ms:.2f} ms: {ratio:.2f}x",
            )

    def _markdown(self) -> str:
        title = f"# {self.manifest.name} version {self.manifest.version}"
        versions = [(name, version) for name, version in self.manifest.card.versions.items()]
        durations = [(step, f"{s:.1f} s") for step, s in self.durations_s.items()]
        sections = [
            title,
            _rows("what", "value", [*self._rows()]),
            _rows("step", "time", durations),
            _rows("used", "version", versions),
            *(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(sections) + "\n"


def _quality(quality: Quality) -> str:
    interval = (
        ""
        if quality.low is None or quality.high is None
        else f", difference {quality.low:+.4f} to {quality.high:+.4f} with 95 % confidence"
    )
    before = "" if quality.reference is None else f", PyTorch {quality.reference:.4f}"
    return f"{quality.bundle:.4f}{before}{interval} ({quality.count} examples)"


def _rows(left: str, right: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines)
