"""Which versions of each model are to serve, as the option `versions` says it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of a model's versions serve."""

    count: int = 1
    """The highest so many; 0 is all of them."""
    exactly: frozenset[int] = frozenset()
    """These and no others; empty leaves it to `count`."""

    def __str__(self) -> str:
        if self.exactly:
            return "+".join(map(str, sorted(self.exactly)))
        return {0: "all", 1: "latest"}.get(self.count, f"latest:{self.count}")

    def pick(self, present: Iterable[int]) -> list[int]:
        """Return the chosen versions among those present, ascending."""
        versions = sorted(present)
        if self.exactly:
            return [version for version in versions if version in self.exactly]
        return versions[-self.count :]

    def missing(self, present: Iterable[int]) -> list[int]:
        """Return the versions asked for by number that are not there, ascending."""
        return sorted(self.exactly.difference(present))


LATEST = Choice()


@dataclass(frozen=True, slots=True)
class Policy:
    """The choice for every model."""

    others: Choice = LATEST
    """For models without a choice of their own."""
    by_name: Mapping[str, Choice] = field(default_factory=dict)

    def of(self, name: str) -> Choice:
        """Return the choice for a model."""
        return self.by_name.get(name, self.others)


def parse(text: str) -> tuple[Policy, list[str]]:
    """Return the policy that a text describes, and everything that is wrong with the text.

    Entries are separated by commas. One without a name is for all models that have none of their
    own: `latest` if there is none.
    """
    others: list[Choice] = []
    by_name: dict[str, Choice] = {}
    problems: list[str] = []
    for entry in text.split(","):
        name, separator, what = (part.strip() for part in entry.rpartition("="))
        choice = parse_choice(what)
        if choice is None:
            problems.append(f"'{what}' is no choice; use latest, latest:N, all or numbers as 1+3")
        elif separator and not name:
            problems.append(f"'{entry.strip()}' names no model before '='")
        elif name in by_name:
            problems.append(f"model '{name}' has two entries")
        elif name:
            by_name[name] = choice
        elif choice.exactly:
            problems.append(f"'{what}' needs a model: write NAME={what}")
        else:
            others.append(choice)
    if len(others) > 1:
        problems.append(f"{' and '.join(map(str, others))} are both for all models; keep one")
    return Policy(others[0] if others else LATEST, by_name), problems


def parse_choice(text: str) -> Choice | None:
    """Return the choice that a text such as `latest:2` or `1+3` stands for, None for none."""
    if text in {"latest", "all"}:
        return Choice(1 if text == "latest" else 0)
    kind, separator, rest = text.rpartition(":")
    numbers = rest.split("+")
    if not all(number.isascii() and number.isdigit() and int(number) for number in numbers):
        return None
    if separator:
        return Choice(int(rest)) if kind == "latest" and len(numbers) == 1 else None
    return Choice(exactly=frozenset(map(int, numbers)))


def describe_missing(name: str, choice: Choice, present: Sequence[int]) -> str:
    """Return which versions of a choice are not among those present; empty if all are."""
    missing = choice.missing(present)
    if not missing:
        return ""
    have = ", ".join(map(str, present)) or "none"
    return (
        f"model '{name}' has no version {', '.join(map(str, missing))} in the repository; "
        f"it has {have}"
    )
