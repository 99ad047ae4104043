"""Say what was exported and what was proven: `report.json`, `report.md` and a table.

Derives everything from the manifest and the durations of the steps; decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from server.repository.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one export."""

    manifest: Manifest
    durations_s: Mapping[str, float]
    notes: Sequence[str]

    def write(self, directory: Path) -> None:
        """Write both forms beside the bundle's files."""
        (directory / "report.md").write_text(self._markdown(), encoding="utf-8")
        data = {
            "bundle": f"{self.manifest.name}/{self.manifest.version}",
            "facts": dict(self._facts()),
            "card": self.manifest.card,
            "durations_s": {step: round(s, 2) for step, s in self.durations_s.items()},
            "notes": list(self.notes),
        }
        encoded = msgspec.json.format(msgspec.json.encode(data), indent=2)
        (directory / "report.json").write_bytes(encoded + b"\n")

    def table(self) -> Table:
        """Return the same facts for a terminal."""
        table = Table(title=f"{self.manifest.name} version {self.manifest.version}")
        table.add_column("What")
        table.add_column("Value")
        for row in (*self._facts(), *self._parity()):
            table.add_row(*map(Text, row))
        for note in self.notes:
            table.add_row("note", Text(note))
        return table

    def _facts(self) -> Iterator[tuple[str, str]]:
        manifest, card = self.manifest, self.manifest.card
        norm = ", normalised" if manifest.pooling.normalize else ""
        yield "source", card.source
        yield "family", manifest.family
        yield "embedding", f"{manifest.pooling.mode} pooling{norm}, {manifest.pooling.dimensions}"
        yield "tokens", f"at most {manifest.limits.max_tokens} a sequence"
        yield (
            "fused attention",
            (f"{card.fused_nodes} of {card.attention_modules} modules, {card.fused_op}"),
        )

    def _parity(self) -> Iterator[tuple[str, str]]:
        for parity in self.manifest.card.parity:
            value = f"{parity.max_abs_difference:.1e} (at most {parity.tolerance:g})"
            yield f"parity {parity.case}", value

    def _markdown(self) -> str:
        title = f"# {self.manifest.name} version {self.manifest.version}"
        versions = [(name, version) for name, version in self.manifest.card.versions.items()]
        durations = [(step, f"{s:.1f} s") for step, s in self.durations_s.items()]
        sections = [
            title,
            _rows("what", "value", [*self._facts(), *self._parity()]),
            _rows("step", "time", durations),
            _rows("used", "version", versions),
            *(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(sections) + "\n"


def _rows(left: str, right: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines)
