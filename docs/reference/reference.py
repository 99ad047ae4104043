"""All services that the server answers, as one page."""

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from docs.reference import comments
from docs.reference.examples import health, inference, reflection, text
from docs.reference.examples.example import examples, preamble
from docs.reference.page import Page, Section, anchor
from protos import inference_pb2
from protos.heed.v1 import text_pb2
from protos.heed.v1.text_pb2_grpc import TextServiceStub
from protos.inference_pb2_grpc import GRPCInferenceServiceStub

PROTOS = ("protos/heed/v1/text.proto", "protos/inference.proto")

SERVICES = (
    (text_pb2, text, TextServiceStub),
    (inference_pb2, inference, GRPCInferenceServiceStub),
    (health_pb2, health, HealthStub),
    (reflection_pb2, reflection, ServerReflectionStub),
)
"""Descriptors, examples and stub, each with one service."""

INTRODUCTION = """\
# RPC reference

Every call that the server answers. Written by `make docs` from the comments in
[protos/](../protos) and the examples in [docs/reference/examples/](reference/examples).

Each Python example goes on from its service's first lines and was run against a server with models
of these names. The modules `protos...` come with heed; elsewhere generate them from the .proto
files. grpcurl learns the messages from the server, by reflection."""


def reference() -> str:
    """Return the page as Markdown.

    Raises:
        LookupError: a method has no example.
        ValueError: a .proto file cannot be read.
    """
    said = {**comments.read(PROTOS), **health.COMMENTS, **reflection.COMMENTS}
    sections = [
        Section(service, preamble(module, stub), examples(service, module))
        for descriptors, module, stub in SERVICES
        for service in descriptors.DESCRIPTOR.services_by_name.values()
    ]
    page = Page(said, frozenset(method for one in sections for method in one.examples))
    paragraphs = [INTRODUCTION, "\n".join(map(_contents, sections))]
    for section in sections:
        paragraphs += page.section(section)
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _contents(section: Section) -> str:
    service = section.service
    methods = " ".join(f"[{method.name}](#{anchor(method.name)})" for method in service.methods)
    return f"- [{service.full_name}](#{anchor(service.full_name)}): {methods}"
