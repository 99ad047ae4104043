"""Print the messages, enums and calls of the official client's protobuf definitions as JSON."""

import json

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2


def enum(descriptor: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in descriptor.values}


def collect(
    descriptor: Descriptor, fields: dict[str, list[object]], enums: dict[str, object]
) -> None:
    for field in descriptor.fields:
        kind = field.message_type or field.enum_type
        fields[field.full_name] = [
            field.number,
            field.type,
            field.is_repeated,
            kind.full_name if kind else "",
            field.containing_oneof.name if field.containing_oneof else "",
        ]
    for nested in descriptor.nested_types:
        collect(nested, fields, enums)
    for one in descriptor.enum_types:
        enums[one.full_name] = enum(one)


def main() -> None:
    fields: dict[str, list[object]] = {}
    enums: dict[str, object] = {}
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            collect(message, fields, enums)
        for one in file.enum_types_by_name.values():
            enums[one.full_name] = enum(one)
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    calls = {
        call.name: [
            call.input_type.full_name,
            call.output_type.full_name,
            call.client_streaming,
            call.server_streaming,
        ]
        for call in service.methods
    }
    print(json.dumps({"fields": fields, "enums": enums, "calls": calls}))


if __name__ == "__main__":
    main()
