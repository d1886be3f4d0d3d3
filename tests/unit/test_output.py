"""What is kept of what a process says, however it comes in and however much it is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from omegaml.runtime.logs import MAX_LOG
from omegaml.runtime.output import LINE, Output

pytestmark = pytest.mark.once


def output() -> Output:
    return Output(None, "t", lambda _: None, None)  # type: ignore[arg-type]  # what writes it needs the database


def texts(docs: list[dict[str, Any]]) -> list[str]:
    return [line["text"] for doc in docs for line in doc["lines"]]


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_the_same_however_they_are_cut_into_pieces(seed: int) -> None:
    draw = random.Random(seed)
    lines = ["ä" * draw.choice([0, 1, 5, 80, 3000]) + str(n) for n in range(50)]
    data, said, docs = "\n".join(lines).encode(), output(), []
    while data:
        size = draw.choice([1, 2, 100, 5000])
        said.add(data[:size])
        data = data[size:]
        if draw.random() < 0.3:
            docs += said.documents()
            said.sent()
    said.is_ended = True
    docs += said.documents()
    assert texts(docs) == lines
    assert [doc["end"] for doc in docs][-1] and not docs[-1]["left_out"]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_kept_and_what_is_left_out_is_all_there_was(seed: int) -> None:
    draw = random.Random(seed)
    said, stored, total = output(), dict[str, Any](), 0
    for _ in range(30):
        for _ in range(draw.choice([0, 1, 3, 40])):
            data = b"x" * draw.choice([0, 10, 1000, 60_000]) + b"\n" * draw.choice([1, 1, 500])
            said.add(data)
            total += len(data)
        stored |= {doc["_id"]: doc for doc in said.documents()}
        said.sent()
        for id in said.dropped():
            del stored[id]
        lines = [len(text) + 1 for text in texts(list(stored.values()))]
        kept, room = sum(lines), sum(max(LINE, line) for line in lines)
        assert kept + max((doc["left_out"] for doc in stored.values()), default=0) == total
        assert room < 2 * MAX_LOG
    assert room > MAX_LOG  # the last of it is there, not less


def test_what_could_not_be_written_is_written_later_or_counted() -> None:
    said = output()
    for n in range(30):
        said.add(f"{n}\n".encode() * 1_000)
        docs = said.documents()
    assert texts(docs)[-1] == "29" and docs[-1]["left_out"] > 0
    assert len(docs) > 1 and said.dropped() == []
    said.sent()
    assert said.documents() == []
