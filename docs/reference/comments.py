"""What the .proto files say about each service, method, message, field and value.

Descriptors at run time have no comments, so the compiler is asked for its own view of the source.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]

Place = tuple[int, ...]
"""Field numbers and indices from the file down, as in SourceCodeInfo.Location.path."""

SYNTAX = FileDescriptorProto.SYNTAX_FIELD_NUMBER
MESSAGES, ENUMS, SERVICES = (
    FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER,
    FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER,
    FileDescriptorProto.SERVICE_FIELD_NUMBER,
)
FIELDS, NESTED, NESTED_ENUMS = (
    DescriptorProto.FIELD_FIELD_NUMBER,
    DescriptorProto.NESTED_TYPE_FIELD_NUMBER,
    DescriptorProto.ENUM_TYPE_FIELD_NUMBER,
)
MEMBERS = EnumDescriptorProto.VALUE_FIELD_NUMBER
"""Also the number of a service's methods."""


def read(names: Sequence[str]) -> dict[str, str]:
    """Return comments by full name, those of a file by its name.

    Args:
        names: .proto files, relative to the root of the repository.

    Raises:
        ValueError: the compiler refuses a file; it has said why.
    """
    found = {}
    for file in _compile(names).file:
        comments = {
            tuple(location.path): location.leading_comments or location.trailing_comments
            for location in file.source_code_info.location
        }
        for name, place in _places(file):
            found[name] = _plain(comments.get(place, ""))
    return found


def _compile(names: Sequence[str]) -> FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        options = [f"-I{ROOT}", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *options, *names]):
            raise ValueError(f"{', '.join(names)}: the compiler refuses it")
        return FileDescriptorSet.FromString(out.read_bytes())


def _places(file: FileDescriptorProto) -> Iterator[tuple[str, Place]]:
    yield file.name, (SYNTAX,)
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield name, (SERVICES, index)
        for number, method in enumerate(service.method):
            yield f"{name}.{method.name}", (SERVICES, index, MEMBERS, number)
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, file.package, (ENUMS, index))
    for index, message in enumerate(file.message_type):
        yield from _message(message, file.package, (MESSAGES, index))


def _message(message: DescriptorProto, scope: str, place: Place) -> Iterator[tuple[str, Place]]:
    name = f"{scope}.{message.name}"
    yield name, place
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*place, FIELDS, index)
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, name, (*place, NESTED_ENUMS, index))
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, name, (*place, NESTED, index))


def _enum(enum: EnumDescriptorProto, scope: str, place: Place) -> Iterator[tuple[str, Place]]:
    yield f"{scope}.{enum.name}", place
    for index, value in enumerate(enum.value):
        yield f"{scope}.{enum.name}.{value.name}", (*place, MEMBERS, index)


def _plain(comment: str) -> str:
    """Drop the space that follows each `//`."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip("\n")


Comments = Mapping[str, str]
