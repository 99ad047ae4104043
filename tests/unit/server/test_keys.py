"""The file of API keys: what it may say, and which calls its groups open."""

import hashlib

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos import inference_pb2
from protos.heed.v1 import text_pb2
from server.errors import ConfigInvalid
from server.rpc.access import METHODS, OIP, groups_for, presented_key
from server.rpc.keys import CONTROL, INFER, INFO, Key, KeyRing, parse_keys

DIGEST = hashlib.sha256(b"key").hexdigest()


def table(**fields: str) -> str:
    """Return a [[keys]] table; fields are TOML values, an empty one is left out."""
    values = {"name": "'ci'", "sha256": f"'{DIGEST}'", "groups": "['infer']"} | fields
    return "[[keys]]\n" + "".join(f"{name} = {text}\n" for name, text in values.items() if text)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        parse_keys(text, "keys.toml")
    return str(caught.value).splitlines()


def test_sound_file_gives_its_keys() -> None:
    (key,) = parse_keys(table(groups="['infer', 'info']", sha256=f"'{DIGEST.upper()}'"), "")

    assert key == Key("ci", bytes.fromhex(DIGEST), frozenset({INFER, INFO}))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[[keys]", "not TOML"),
        ("", "has 0 keys"),
        ("[keys.ci]\n", "write each key as a [[keys]] table"),
        ("[server]\n" + table(), "'server' is unknown"),
        (table(name=""), "name must be"),
        (table(name="7"), "name must be"),
        (table(sha256=""), "sha256 must be"),
        (table(sha256=f"'{DIGEST[1:]}'"), "sha256 must be"),
        (table(sha256=f"'{DIGEST[1:]}g'"), "sha256 must be"),
        (table(sha256=f"'{hashlib.sha256(b'').hexdigest()}'"), "digest of an empty key"),
        (table(groups="[]"), "groups must be"),
        (table(groups="'infer'"), "groups must be"),
        (table(groups="['admin']"), "groups must be"),
        (table(groups="[['infer']]"), "groups must be"),
        (table(key="'plain'"), "'key' is unknown"),
        (table() + table(sha256=f"'{DIGEST[::-1]}'"), "'ci' is used twice"),
        (table() + table(name="'cd'"), "used twice, by 'ci' and 'cd'"),
    ],
)
def test_each_mistake_is_named(text: str, hint: str) -> None:
    (problem,) = problems(text)

    assert hint in problem
    assert problem.startswith("keys.toml: ")


def test_all_mistakes_are_reported_at_once() -> None:
    text = "title = 1\n" + table(name="", groups="[]") + table(sha256="'0'", extra="1")

    found = problems(text)

    assert len(found) == 5
    assert any("key 1:" in problem for problem in found)
    assert any("key 'ci':" in problem for problem in found)


def test_ring_finds_what_is_in_it_again_and_again() -> None:
    ring = KeyRing(parse_keys(table(), ""))

    assert [ring.find("key"), ring.find("key")] == [parse_keys(table(), "")[0]] * 2
    assert ring.find("other") is None
    assert ring.find(DIGEST) is None, "a digest is not its key"
    assert ring.find("\udcff") is None


def test_every_call_of_the_protocol_is_listed() -> None:
    service = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    listed = {method.removeprefix(OIP) for method in METHODS}

    assert {method.name for method in service.methods} <= listed


@pytest.mark.parametrize(
    ("file", "groups"),
    [(text_pb2, {INFER}), (health_pb2, set()), (reflection_pb2, {INFO})],
)
def test_services_belong_to_one_group(file: object, groups: set[str]) -> None:
    services = file.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]  # generated
    paths = [
        f"/{service.full_name}/{method.name}" for service in services for method in service.methods
    ]

    assert paths
    assert {groups_for(path) for path in paths} == {frozenset(groups)}


def test_call_that_nobody_listed_needs_the_strongest_group() -> None:
    assert groups_for("/inference.GRPCInferenceService/SomethingNew") == {CONTROL}
    assert groups_for("/other.Service/Call") == {CONTROL}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([], None),
        ([("authorization", "Bearer a")], "a"),
        ([("authorization", "a")], None),
        ([("authorization", "Bearer a"), ("x-api-key", "b")], "b"),
        ([("triton-grpc-protocol-infer", "c")], "c"),
        ([("triton-grpc-protocol-info", "c")], None),
        ([("trace-bin", b"\xff"), ("x-api-key", "b")], "b"),
    ],
)
def test_where_a_key_is_looked_for(
    metadata: list[tuple[str, str | bytes]], expected: str | None
) -> None:
    assert presented_key(metadata, frozenset({INFER})) == expected
