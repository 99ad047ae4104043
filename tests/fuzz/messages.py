"""Messages that parse and mean harm: right in most fields, nasty in some.

Generic over descriptors, so that a new call is covered by itself; field names say where a model,
a version or a text belongs. Tensors are written by `tensors`, since only few random ones are close
enough to right to reach what is behind the first check.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from fuzz import tensors
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

MAX_DEPTH = 4
PLENTY = 300
"""Of repeated values: more than one call may hold."""

NASTINESS = (0.0, 0.03, 0.15, 0.5)
"""Shares of a message's values that are nasty; one is drawn for each message."""
PREFERRED = 0.7
"""Share of messages for a model of the task that their name speaks of."""
TASKS = {
    "Embed": "embed",
    "Similarity": "embed",
    "Explain": "explained",
    "TokenClassify": "token-classify",
    "Classify": "classify",
    "Rerank": "ranker",
    "AnswerQuestion": "question-answer",
    "FillMask": "fill-mask",
}
"""How the request of a task begins, and the task, or the one model, that it is for."""

MODEL_FIELDS = frozenset({"model", "model_name", "service"})
BESIDE_THE_POINT = frozenset({"id", "version", "model_version", "repository_name"})
LIKELY, LIKELY_CONTENT, UNLIKELY = 0.97, 0.65, 0.08
"""How often the model is set; text and what is repeated; and everything else."""
VERSIONS = ("", "1", "2", "-1", "01", "1.0", "x", "9" * 30, "\u0661", " 1", "\0")
NAMES = ("", "none", "../tiny", "tiny/1", "TINY", "\0", "a" * 5000, "tiny\n", "\u202etiny")
WORDS = ("word1", "word2 word3", "word4 " * 7, "word0 word5", "unknown")
MASKED = ("word0", "word1 word0 word2")
"""With the word that the tests' masked language model takes for a mask."""
SMALL = (1, 1, 2, 3, 8)
TEXTS = (
    "", " ", "\0", "\n\t", "word1 " * 40, "\U0001f469\u200d\U0001f469\u200d\U0001f467", "%s%n",
    "\ufeffword1", "e\u0301" * 30, "\u202eword1", "\U0010ffff", "[CLS] [SEP] [PAD]", '{"a": 1}',
    "a" * 3000,
)  # fmt: skip
INTEGERS = (0, 1, 2, 8, 9, 64, 255, 256, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, 1e308, math.inf, -math.inf, math.nan)
BYTES = (b"", b"\0", b"\xff\xff\xff\xff", b"\x05\0\0\0word1", b"{}", b"x" * 3000)
KEYS = (
    "timeout", "priority", "sequence_id", "sequence_start", "sequence_end", "classification",
    "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "headers",
    "binary_data_output", "binary_data", "triton_enable_empty_final_response",
    "triton_final_response", "config", "file:1/model.onnx", "unload_dependents", "log_level",
    "log_file", "log_verbose_level", "log_info", "trace_level", "trace_rate", "trace_file",
    "", "x" * 300,
)  # fmt: skip

Type = FieldDescriptor
RANGES: dict[int, tuple[int, int]] = {
    **dict.fromkeys((Type.CPPTYPE_INT32, Type.CPPTYPE_ENUM), (-(1 << 31), (1 << 31) - 1)),
    Type.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    Type.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    Type.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


@dataclass(frozen=True)
class Model:
    """A model as it describes itself."""

    name: str
    task: str
    inputs: Sequence[tensors.Spec]


@dataclass(frozen=True)
class Author:
    """Writes messages for the models of one server."""

    models: Sequence[Model]

    def write(self, random: Random, descriptor: Descriptor) -> Message:
        """Return a message of any type."""
        message = GetMessageClass(descriptor)()
        model = self._model(random, descriptor.name)
        writer = Writer(
            random, random.choice(NASTINESS), model.name, random.choice((WORDS, MASKED))
        )
        if descriptor.full_name == "inference.ModelInferRequest":
            tensors.fill(random, message, model.name, model.inputs)
            if random.random() < 0.3:
                writer.parameters(message)
        else:
            writer.fill(message)
        return message

    def _model(self, random: Random, message: str) -> Model:
        task = next((task for start, task in TASKS.items() if message.startswith(start)), "")
        fitting = [model for model in self.models if task in (model.task, model.name)]
        if fitting and random.random() < PREFERRED:
            return random.choice(fitting)
        return random.choice(self.models)


@dataclass(frozen=True)
class Writer:
    """Fills one message."""

    random: Random
    nastiness: float
    model: str
    words: Sequence[str]
    """What it says where nothing nasty is said."""

    def parameters(self, message: Any) -> None:
        """Give a request, or one of its tensors, parameters."""
        holder = self.random.choice([message, *message.inputs, *message.outputs])
        self._set_map(holder, holder.DESCRIPTOR.fields_by_name["parameters"], 1)

    def fill(self, message: Message, depth: int = 0) -> None:
        """Give values to most fields that matter and to some others."""
        for field in fields_of(message.DESCRIPTOR):
            if self.random.random() < self._likelihood(field):
                self._set(message, field, depth)

    def _likelihood(self, field: FieldDescriptor) -> float:
        if _names_model(field):
            return LIKELY
        is_content = field.is_repeated or field.cpp_type == Type.CPPTYPE_STRING
        if is_content and field.name not in BESIDE_THE_POINT:
            return LIKELY_CONTENT
        return UNLIKELY + self.nastiness

    def _is_nasty(self) -> bool:
        return self.random.random() < self.nastiness

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        is_message = field.cpp_type == Type.CPPTYPE_MESSAGE
        if is_message and depth >= MAX_DEPTH:
            return
        if is_message and _type_of(field).GetOptions().map_entry:
            self._set_map(message, field, depth)
        elif field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(self._count()):
                if is_message:
                    self.fill(values.add(), depth + 1)
                else:
                    values.append(self._value(field))
        elif is_message:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self.fill(inner, depth + 1)
        else:
            setattr(message, field.name, self._value(field))

    def _count(self) -> int:
        return self.random.choice((0, 17, PLENTY) if self._is_nasty() else SMALL)

    def _set_map(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        """Fill a map with values of every type; a value may be absent too."""
        entries = getattr(message, field.name)
        key_field, value_field = fields_of(_type_of(field))
        is_text = key_field.cpp_type == Type.CPPTYPE_STRING
        for _ in range(self.random.choice((1, 1, 2, 5))):
            key = self.random.choice(KEYS) if is_text else self._value(key_field)
            if value_field.cpp_type != Type.CPPTYPE_MESSAGE:
                entries[key] = self._value(value_field)
                continue
            inner = entries[key]
            if self.random.random() < 0.9:
                chosen = self.random.choice(fields_of(_type_of(value_field)))
                self._set(inner, chosen, depth + 1)

    def _value(self, field: FieldDescriptor) -> Any:
        random, is_nasty = self.random, self._is_nasty()
        match field.cpp_type:
            case Type.CPPTYPE_STRING:
                if field.type == Type.TYPE_BYTES:
                    return random.choice(BYTES)
                return self._text(field, is_nasty=is_nasty)
            case Type.CPPTYPE_BOOL:
                return random.random() < 0.5
            case Type.CPPTYPE_FLOAT | Type.CPPTYPE_DOUBLE:
                return random.choice(FLOATS if is_nasty else (0.0, 0.5, 1.0))
            case Type.CPPTYPE_ENUM if not is_nasty:
                return random.choice(list(cast("EnumDescriptor", field.enum_type).values)).number
            case kind:
                low, high = RANGES[kind]
                drawn = random.choice(INTEGERS if is_nasty else SMALL)
                return min(max(-drawn if is_nasty and random.random() < 0.3 else drawn, low), high)

    def _text(self, field: FieldDescriptor, *, is_nasty: bool) -> str:
        """Return a value by the field's name."""
        if _names_model(field):
            return self.random.choice(NAMES) if is_nasty else self.model
        if "version" in field.name:
            return self.random.choice(VERSIONS) if is_nasty else ""
        if field.name == "repository_name":
            return self.random.choice(TEXTS) if is_nasty else ""
        return self.random.choice(TEXTS if is_nasty else self.words)


def fields_of(descriptor: Any) -> list[FieldDescriptor]:
    # The stubs name the C++ and the Python class of the same thing.
    return cast("list[FieldDescriptor]", list(descriptor.fields))


def _names_model(field: FieldDescriptor) -> bool:
    """Return whether a field holds the name of a model."""
    # Only in the calls about a model is a plain "name" its name.
    message = cast("Descriptor", field.containing_type).name
    return field.name in MODEL_FIELDS or (field.name == "name" and message.startswith("Model"))


def _type_of(field: FieldDescriptor) -> Descriptor:
    """Return the type of a field of messages."""
    return cast("Descriptor", field.message_type)
