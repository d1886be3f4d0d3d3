"""How many bytes an Arrow message takes once it is unpacked, told without unpacking it.

A few bytes of a compressed message can stand for gigabytes, which would be taken from everybody's memory.
Source: https://arrow.apache.org/docs/format/Columnar.html (Recordbatch message, compression) and
Message.fbs, whose tables are read here as https://flatbuffers.dev/internals/ lays them out.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_DICTIONARY, _RECORDS = 2, 3


def unpacked(message: pa.Message) -> int:
    """The bytes of a message's columns; of one that is not compressed, those of its body."""
    data = message.metadata.to_pybytes()
    root = _follow(data, 0)
    kind, header = _field(data, root, 1), _field(data, root, 2)
    if kind is None or header is None or data[kind] not in (_DICTIONARY, _RECORDS):
        return 0
    batch = _follow(data, header)
    if data[kind] == _DICTIONARY:
        inner = _field(data, batch, 1)
        if inner is None:
            return 0
        batch = _follow(data, inner)
    buffers, compression = _field(data, batch, 2), _field(data, batch, 3)
    if buffers is None or compression is None:
        return message.body.size if message.body is not None else 0
    first = _follow(data, buffers)
    count = struct.unpack_from("<I", data, first)[0]
    return sum(
        _length(message.body, *struct.unpack_from("<qq", data, first + 4 + 16 * i)) for i in range(count)
    )


def _length(body: pa.Buffer, offset: int, length: int) -> int:
    """The length of a buffer: the number before its bytes; -1 says that these are as they are."""
    if length < 8:
        return length
    said: int = struct.unpack("<q", body.slice(offset, 8).to_pybytes())[0]
    return length - 8 if said == -1 else max(0, said)


def _follow(data: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a table has its field `number`; None where it is left out."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", data, layout)[0]:
        return None
    offset = struct.unpack_from("<H", data, layout + place)[0]
    return table + offset if offset else None
