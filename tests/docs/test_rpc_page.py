"""The reference of RPCs is current, complete, and its examples work."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundles
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import Default
from loopback import Target, serve

from docs.reference.page import anchor
from docs.reference.reference import SERVICES, reference

PAGE = Path(__file__).parents[2] / "docs" / "rpc.md"
WRITTEN = PAGE.read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8001"
MASK = "[MASK]"
"""What most models call it; the one here calls it otherwise."""

SECTION = re.compile(r"^## (\S+)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
METHOD = re.compile(r"^### (\w+)$(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"^\$ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Shown:
    """What the page shows of one method."""

    method: str
    """SERVICE/METHOD"""
    python: str
    """The first lines of the service, and the example."""
    command: str


def shown() -> list[Shown]:
    found = []
    for service, text in SECTION.findall(WRITTEN):
        first = PYTHON.findall(text)[0]
        for method, part in METHOD.findall(text):
            for python, command in zip(PYTHON.findall(part), CONSOLE.findall(part), strict=True):
                found.append(Shown(f"{service}/{method}", first + python, command))
    return found


EXAMPLES = shown()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with a model of every name on the page."""
    root = tmp_path_factory.mktemp("models")
    for name in ("minilm", "old-minilm"):
        bundles.build_encoder(root, name)
    bundles.build_ranker(root, "reranker")
    bundles.build_judge(root, "classifier")
    for build in (bundles.build_tagger, bundles.build_reader, bundles.build_filler):
        build(root)
    bundles.build_explained(root)
    with serve(root, "--model-control", "explicit", "--shared-memory") as running:
        yield running


def methods() -> Iterator[MethodDescriptor]:
    for descriptors, _, _ in SERVICES:
        for service in descriptors.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def test_page_is_current() -> None:
    assert reference() == WRITTEN, "run 'make docs' and commit the result"


def test_every_method_has_one_example_in_each_form() -> None:
    expected = [f"{method.containing_service.full_name}/{method.name}" for method in methods()]

    assert [example.method for example in EXAMPLES] == expected


def test_every_service_of_the_server_is_on_the_page(target: Target) -> None:
    reflecting = next(one for one in EXAMPLES if one.method.endswith("/ServerReflectionInfo"))
    names = {service for service, _ in SECTION.findall(WRITTEN)}

    with pytest.MonkeyPatch.context() as patch:
        printed: list[object] = []
        patch.setattr("builtins.print", printed.append)
        run(reflecting, target)

    assert printed == [sorted(names)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.method)
def test_python_example_is_answered(
    example: Shown, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    run(example, target)

    assert capsys.readouterr().out.strip()


def run(example: Shown, target: Target) -> None:
    source = example.python.replace(ADDRESS, target.address)
    exec(source.replace(MASK, bundles.words()[bundles.MASK_ID]), {})  # noqa: S102  (our page)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.method)
def test_command_line_sends_what_the_method_takes(example: Shown) -> None:
    program, plaintext, option, data, address, method = shlex.split(example.command)
    name, _, call = method.partition("/")
    service: ServiceDescriptor = Default().FindServiceByName(name)
    message_class = message_factory.GetMessageClass(service.methods_by_name[call].input_type)

    messages = list(documents(data))

    assert (program, plaintext, option, address) == ("grpcurl", "-plaintext", "-d", ADDRESS)
    assert method == example.method
    assert messages
    for message in messages:
        json_format.ParseDict(message, message_class())


def documents(text: str) -> Iterator[Any]:
    """Yield JSON documents that stand one behind the other, as grpcurl reads them."""
    decoder = json.JSONDecoder()
    while text:
        found, end = decoder.raw_decode(text)
        yield found
        text = text[end:].lstrip()


def test_headings_differ_and_links_lead_to_them() -> None:
    headings = [anchor(title) for title in re.findall(r"^#+ (.+)$", WRITTEN, re.MULTILINE)]
    links = re.findall(r"\]\(#([^)]+)\)", WRITTEN)

    assert len(set(headings)) == len(headings)
    assert set(links) <= set(headings)


def test_files_that_are_linked_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", WRITTEN):
        assert (PAGE.parent / link).exists(), link
