"""Damage to the bytes of a message: what no serialiser would write.

Pure: bytes and a source of randomness in, bytes out. Knows the wire format and no message.
"""

from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes], bytes]

HUGE_FIELD = (1 << 29) - 1
LENGTH_DELIMITED, START_GROUP, END_GROUP = 2, 3, 4
GROUP_DEPTHS = (1, 99, 101, 5000)
"""Parsers stop at 100 by default."""
LENGTHS = (0, 1, 127, 128, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)
BAD_TEXT = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")
"""No UTF-8: a byte that never occurs, an overlong zero, a surrogate, beyond the end, cut off."""


def damage(random: Random, data: bytes) -> bytes:
    """Return the bytes after one to three mutations."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(MUTATIONS)(random, data)
    return data


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(data: bytes) -> list[tuple[int, int, int]]:
    """Return (start, start of the value, end) of each top-level field, up to the first unsound."""
    found = []
    start = 0
    while start < len(data):
        tag, value = _read_varint(data, start)
        end = _end_of_value(data, value, tag & 7)
        if value > len(data) or end > len(data) or end < 0:
            break
        found.append((start, value, end))
        start = end
    return found


def _end_of_value(data: bytes, value: int, wire_type: int) -> int:
    match wire_type:
        case 0:
            return _read_varint(data, value)[1]
        case 1:
            return value + 8
        case 2:
            length, content = _read_varint(data, value)
            return content + length
        case 5:
            return value + 4
        case _:
            return -1


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the value and where it ends, which is past the data when it is cut off."""
    value = shift = 0
    while start < len(data):
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, start
    return value, len(data) + 1


def _place(random: Random, data: bytes) -> int:
    """Return where to insert: mostly between two fields, where a parser reads a tag."""
    found = fields(data)
    if found and random.random() < 0.8:
        return random.choice(found)[random.choice((0, 2))]
    return random.randint(0, len(data))


def _insert(random: Random, data: bytes, piece: bytes) -> bytes:
    place = _place(random, data)
    return data[:place] + piece + data[place:]


def flip_bits(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.randint(0, len(data))]


def duplicate_field(random: Random, data: bytes) -> bytes:
    found = fields(data)
    if not found:
        return data + data
    start, _, end = random.choice(found)
    return _insert(random, data, data[start:end] * random.choice((1, 2, 50)))


def unknown_field(random: Random, data: bytes) -> bytes:
    number = random.choice((0, 15, 16, 19_000, HUGE_FIELD, random.randint(30, 4000)))
    wire_type = random.randrange(8)
    return _insert(random, data, varint(number << 3 | wire_type) + random.randbytes(8))


def wrong_wire_type(random: Random, data: bytes) -> bytes:
    found = fields(data)
    if not found:
        return varint(1 << 3 | random.randrange(8))
    start, _, _ = random.choice(found)
    return data[:start] + bytes([data[start] ^ random.randint(1, 7)]) + data[start + 1 :]


def overlong_varint(random: Random, data: bytes) -> bytes:
    number = random.randint(1, 8)
    length = random.choice((5, 9, 10, 11, 40))
    return _insert(random, data, varint(number << 3) + b"\x80" * length + b"\x01")


def lying_length(random: Random, data: bytes) -> bytes:
    number = random.randint(1, 8)
    tag = varint(number << 3 | LENGTH_DELIMITED)
    return _insert(random, data, tag + varint(random.choice(LENGTHS)))


def bad_text(random: Random, data: bytes) -> bytes:
    """Put a field of text that is no UTF-8 where the message may have one."""
    number = random.randint(1, 8)
    text = b"word1 " + random.choice(BAD_TEXT)
    field = varint(number << 3 | LENGTH_DELIMITED) + varint(len(text)) + text
    return _insert(random, data, field)


def groups(random: Random, data: bytes) -> bytes:
    """Nest groups, which proto3 still has to skip; some never end."""
    number = random.choice((1, 30, HUGE_FIELD))
    depth = random.choice(GROUP_DEPTHS)
    ends = depth if random.random() < 0.5 else random.randint(0, depth)
    opened, closed = varint(number << 3 | START_GROUP), varint(number << 3 | END_GROUP)
    return _insert(random, data, opened * depth + closed * ends)


def noise(random: Random, data: bytes) -> bytes:
    del data
    return random.randbytes(random.choice((1, 2, 7, 64, 500)))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    duplicate_field,
    unknown_field,
    wrong_wire_type,
    overlong_varint,
    lying_length,
    bad_text,
    groups,
    noise,
)
