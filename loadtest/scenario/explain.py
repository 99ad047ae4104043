"""What the schema would have taken, where it refused something. For the texts of errors."""

import re
from collections.abc import Sequence
from typing import Final, cast

import msgspec.inspect as kinds

from loadtest.scenario.schema import AnyScenario

_PLACE: Final = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$")
_KEY: Final = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def explain(error: Exception, data: object) -> str:
    """Return msgspec's message about `data` with the field first and what is allowed last."""
    found = _PLACE.match(str(error))
    what, path = (found["what"], found["path"]) if found else (str(error), "")
    allowed = _allowed(what, _KEY.findall(path), data)
    return f"{path}: {what}{allowed}" if path else f"{what}{allowed}"


def _allowed(what: str, keys: Sequence[str], data: object) -> str:
    is_tag = what.startswith(("Invalid value", "Object missing required field `kind`"))
    if is_tag or "field `distribution`" in what:
        # The tag's own name is the last key when it is wrong, and none when it is missing.
        owner = keys[:-1] if what.startswith("Invalid value") else keys
        tags = [str(kind.tag) for kind in _structs(_walk(owner, data))]
        return f"; allowed are {', '.join(tags)}" if tags else ""
    at = _walk(keys, data)
    if what.startswith("Invalid enum value"):
        values = [
            value for kind in at if isinstance(kind, kinds.LiteralType) for value in kind.values
        ]
        return f"; allowed are {', '.join(map(str, values))}"
    if "unknown field" in what:
        structs = _structs(at)
        names = [field.name for kind in structs for field in kind.fields]
        tags = [kind.tag_field for kind in structs[:1] if kind.tag_field]
        return f"; it may have {', '.join([*tags, *names])}"
    return ""


def _structs(types: Sequence[kinds.Type]) -> list[kinds.StructType]:
    return [kind for kind in types if isinstance(kind, kinds.StructType)]


def _walk(keys: Sequence[str], data: object) -> list[kinds.Type]:
    """Return the types that the schema has at a path, the one that the data's tag names if any."""
    types = _chosen([kinds.type_info(AnyScenario)], data)
    for key in keys:
        types = [inner for kind in types for inner in _inside(kind, key)]
        data = _item(data, key)
        types = _chosen(types, data)
    return types


def _inside(kind: kinds.Type, key: str) -> list[kinds.Type]:
    match kind:
        case kinds.StructType():
            return [field.type for field in kind.fields if field.name == key]
        case kinds.VarTupleType():
            return [kind.item_type]
        case kinds.DictType():
            return [kind.value_type]
        case _:
            return []


def _item(data: object, key: str) -> object:
    if isinstance(data, dict):
        return cast("dict[str, object]", data).get(key)
    place = key.strip("[]")
    is_there = isinstance(data, list) and place.isdigit() and int(place) < len(data)
    return cast("list[object]", data)[int(place)] if is_there else None


def _chosen(types: Sequence[kinds.Type], data: object) -> list[kinds.Type]:
    """Return the types without unions; of tagged structs only the one that the data names."""
    flat = [
        inner
        for kind in types
        for inner in (kind.types if isinstance(kind, kinds.UnionType) else (kind,))
    ]
    if not isinstance(data, dict):
        return flat
    named = [
        kind for kind in _structs(flat) if kind.tag_field and data.get(kind.tag_field) == kind.tag
    ]
    return list(named or flat)
