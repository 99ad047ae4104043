"""The page: services, methods and messages of the descriptors as Markdown, with their comments."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from docs.reference.comments import Comments
from docs.reference.examples.example import Example

SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
SHARED_FIELD = re.compile(r"^  (\w+)  +(\S.*)$", re.MULTILINE)
"""A line of a file's comment that describes a field of every request."""


@dataclass(frozen=True)
class Section:
    """One service and how to call it."""

    service: ServiceDescriptor
    preamble: str
    """Python that makes `stub`."""
    examples: dict[str, Example]
    """By method."""


@dataclass
class Page:
    """Writes each message and enumeration once, where it is first needed."""

    comments: Comments
    methods: frozenset[str]
    """Names of the methods on the page, which messages of the same name give way to."""
    written: set[str] = field(default_factory=set)
    later: list[Descriptor | EnumDescriptor] = field(default_factory=list)

    def section(self, section: Section) -> Iterator[str]:
        """Yield the paragraphs of a service."""
        service = section.service
        yield f"## {service.full_name}"
        yield self._comment(service.full_name)
        yield self._comment(service.file.name)
        yield f"```python\n{section.preamble}\n```"
        for method in service.methods:
            yield from self._method(method, section.examples[method.name])
        if self.later:
            yield f"### Messages of {service.name}"
        while self.later:
            found = self.later.pop(0)
            if isinstance(found, EnumDescriptor):
                yield from self._enum(found)
            else:
                yield from self._message(found)

    def _method(self, method: MethodDescriptor, example: Example) -> Iterator[str]:
        service = method.containing_service.full_name
        sends = "stream of " if method.client_streaming else ""
        answers = "stream of " if method.server_streaming else ""
        yield f"### {method.name}"
        yield self._comment(f"{service}.{method.name}")
        yield (
            f"{sends}{self._link(method.input_type)} → {answers}{self._link(method.output_type)}"
        )
        yield f"```python\n{example.python}\n```"
        yield f"```console\n$ {example.grpcurl(f'{service}/{method.name}')}\n```"
        yield from self._message(method.input_type, shared=True)
        yield from self._message(method.output_type)

    def _message(self, message: Descriptor, *, shared: bool = False) -> Iterator[str]:
        """Yield a message; `shared` fields of requests are described in the file's comment."""
        if message.full_name in self.written:
            return
        self.written.add(message.full_name)
        self.later = [one for one in self.later if one is not message]
        yield f"#### {self._title(message)}"
        yield self._comment(message.full_name)
        if not message.fields:
            yield "No fields."
            return
        of_all = dict(SHARED_FIELD.findall(self._of(message.file.name))) if shared else {}
        rows = [
            (
                f"`{one.name}`",
                self._type(one),
                _line(self._of(one.full_name) or of_all.get(one.name, "")),
            )
            for one in message.fields
        ]
        yield _table(("field", "type", "meaning"), rows)

    def _enum(self, enum: EnumDescriptor) -> Iterator[str]:
        if enum.full_name in self.written:
            return
        self.written.add(enum.full_name)
        yield f"#### {self._title(enum)}"
        yield self._comment(enum.full_name)
        rows = [
            (
                f"`{value.name}`",
                str(value.number),
                _line(self._of(f"{enum.full_name}.{value.name}")),
            )
            for value in enum.values
        ]
        yield _table(("value", "number", "meaning"), rows)

    def _type(self, one: FieldDescriptor) -> str:
        entry = one.message_type
        if entry is not None and entry.GetOptions().map_entry:
            key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
            return f"map of {self._name(key)} to {self._name(value)}"
        oneof = one.containing_oneof
        if one.is_repeated:
            return f"repeated {self._name(one)}"
        if oneof is None:
            return self._name(one)
        # An optional field is a oneof of its own, whose name begins with an underscore.
        is_optional = oneof.name == f"_{one.name}"
        return (
            f"optional {self._name(one)}"
            if is_optional
            else f"{self._name(one)}, one of {oneof.name}"
        )

    def _name(self, one: FieldDescriptor) -> str:
        target = one.message_type or one.enum_type
        return SCALARS[one.type] if target is None else self._link(target)

    def _link(self, target: Descriptor | EnumDescriptor) -> str:
        if target.full_name not in self.written and target not in self.later:
            self.later.append(target)
        title = self._title(target)
        return f"[{title}](#{anchor(title)})"

    def _title(self, target: Descriptor | EnumDescriptor) -> str:
        """Return the name within the package, the outer message included."""
        name = target.full_name.removeprefix(f"{target.file.package}.")
        return f"{name} (message)" if name in self.methods else name

    def _of(self, name: str) -> str:
        return self.comments.get(name, "")

    def _comment(self, name: str) -> str:
        return _prose(self._of(name))


def anchor(title: str) -> str:
    """Return what a heading is called in a link."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _prose(comment: str) -> str:
    """Join the lines of each paragraph, and make a list of lines that describe fields."""
    blocks: list[str] = []
    was = ""
    for written in comment.splitlines():
        shared = SHARED_FIELD.match(written)
        now = "item" if shared else "text" if written else ""
        line = f"- `{shared[1]}`: {shared[2]}" if shared else written
        if now == was == "item":
            blocks[-1] += f"\n{line}"
        elif now == was == "text":
            blocks[-1] += f" {line}"
        elif now:
            blocks.append(line)
        was = now
    return "\n\n".join(blocks)


def _line(comment: str) -> str:
    """Return a comment as the cell of a table."""
    return " ".join(comment.split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, without its last column where that is empty."""
    width = len(head) if any(row[-1] for row in rows) else len(head) - 1
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells[:width])} |" for cells in lines)
