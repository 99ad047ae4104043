"""A call as the page shows it: in Python, and for grpcurl.

The Python is the body of a function that gets a stub. What it sends is caught on the way, so both
forms say the same.
"""

import inspect
import json
import shlex
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

ADDRESS = "127.0.0.1:8001"


@dataclass(frozen=True)
class Example:
    """One call of one method."""

    python: str
    sent: tuple[str, ...]
    """Each message as JSON."""

    def grpcurl(self, method: str) -> str:
        """Return the command line of the same call."""
        return f"grpcurl -plaintext -d {shlex.quote(' '.join(self.sent))} {ADDRESS} {method}"


def examples(service: ServiceDescriptor, module: ModuleType) -> dict[str, Example]:
    """Return the example of each method, by its name.

    Raises:
        LookupError: the module has no function for a method.
    """
    found = {}
    for method in service.methods:
        name = snake(method.name)
        function = getattr(module, name, None) or getattr(module, f"{name}_", None)
        if function is None:
            raise LookupError(f"{module.__name__} has no example {name}")
        _, _, body = inspect.getsource(function).partition(":\n")
        sent = tuple(_json(message) for message in _caught(method, function))
        found[method.name] = Example(textwrap.dedent(body).strip(), sent)
    return found


def preamble(module: ModuleType, stub: type) -> str:
    """Return what comes before each example: the imports of its module, and the stub."""
    source = inspect.getsource(module)
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    if "import grpc" not in imports:
        imports.insert(0, "import grpc")
    connect = f'stub = {stub.__name__}(grpc.insecure_channel("{ADDRESS}"))'
    return "\n".join([*imports, "", connect])


def snake(name: str) -> str:
    """Return the name of the function for a method: ModelInfer becomes model_infer.

    One that Python has for itself gets an underscore behind it.
    """
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class _Caught(Exception):
    """Carries what was sent out of an example."""

    def __init__(self, messages: list[Message]) -> None:
        super().__init__()
        self.messages = messages


class _Catcher:
    """A stub that sends nothing: other methods answer with an empty message."""

    def __init__(self, wanted: MethodDescriptor) -> None:
        for method in wanted.containing_service.methods:
            setattr(self, method.name, self._method(method, is_wanted=method is wanted))

    @staticmethod
    def _method(method: MethodDescriptor, *, is_wanted: bool) -> Callable[..., Message]:
        def call(request: Message | Iterable[Message], timeout: float | None = None) -> Message:
            del timeout
            if is_wanted:
                raise _Caught([request] if isinstance(request, Message) else list(request))
            return GetMessageClass(method.output_type)()

        return call


def _caught(method: MethodDescriptor, function: Callable[[Any], None]) -> list[Message]:
    try:
        function(_Catcher(method))
    except _Caught as caught:
        return caught.messages
    raise LookupError(f"the example of {method.name} does not call it")


def _json(message: Message) -> str:
    return json.dumps(MessageToDict(message, preserving_proto_field_name=True), ensure_ascii=False)
