"""History on disk: segments, words, torn files, the merge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunNotFound
from harness.history import (
    FAIL,
    INVOKE,
    OK,
    UNKNOWN,
    FaultRecord,
    Mark,
    Observation,
    Operation,
    event_from_json,
    event_to_json,
    read_events,
)
from harness.segments import Segment, merge_operations, pack_record, read_segment, read_words

WRITE = Operation("write kv transaction", "write", "kv", "transaction")
ECHO = Operation("rpc node_echo:echo", "rpc")


def segment(folder: Path, name: str, rows: list[tuple[int, Operation, str, str, int, int]]) -> Path:
    """rows: (type, operation, target, reason, id, time)."""
    made = Segment(folder / f"ops-{name}.seg")
    for type_, operation, target, reason, ident, time in rows:
        op, node, why = (made.words.number(word) for word in (operation, target, reason))
        made.append(pack_record(type_, op, node, why, ident, ident, -1, time, time, -1))
    made.close()
    return folder / f"ops-{name}.seg"


def test_segments_of_several_workers_merge_with_their_own_words(tmp_path: Path) -> None:
    segment(tmp_path, "w1", [(INVOKE, WRITE, "n1", "", 5, 10), (OK, WRITE, "n1", "", 5, 30)])
    segment(
        tmp_path,
        "w2",
        [
            (INVOKE, ECHO, "n2", "", 3, 11),
            (INVOKE, WRITE, "n1", "", 9, 12),
            (FAIL, WRITE, "n1", "no_majority", 9, 13),
            (UNKNOWN, ECHO, "n2", "timeout", 3, 40),
        ],
    )
    ops = merge_operations(tmp_path)
    assert ops.id.tolist() == [3, 5, 9]
    assert [ops.operations[i] for i in ops.op] == [ECHO, WRITE, WRITE]
    assert [ops.targets[i] for i in ops.target] == ["n2", "n1", "n1"]
    assert [ops.reasons[i] for i in ops.reason] == ["timeout", "", "no_majority"]
    assert ops.outcome.tolist() == [UNKNOWN, OK, FAIL]
    assert (ops.start.tolist(), ops.end.tolist()) == ([11, 10, 12], [40, 30, 13])
    assert ops.of_kind("write", table="kv").tolist() == [False, True, True]
    assert len(ops.where(ops.outcome == OK)) == 1


def test_an_invocation_without_completion_is_unknown_for_ever(tmp_path: Path) -> None:
    segment(tmp_path, "w1", [(INVOKE, ECHO, "n1", "", 1, 10)])
    ops = merge_operations(tmp_path)
    assert (ops.outcome.tolist(), ops.end.tolist()) == ([UNKNOWN], [-1])


@pytest.mark.parametrize("cut", [1, 63, 64, 100])
def test_a_segment_cut_short_is_read_up_to_its_last_whole_record(tmp_path: Path, cut: int) -> None:
    rows = [(INVOKE, ECHO, "n1", "", ident, ident) for ident in (1, 2, 3)]
    path = segment(tmp_path, "w1", rows)
    path.write_bytes(path.read_bytes()[:-cut])
    assert merge_operations(tmp_path).id.tolist() == [1, 2, 3][: 3 - (cut + 63) // 64]


@pytest.mark.parametrize("size", [0, 5])
def test_a_segment_without_a_whole_header_is_empty(tmp_path: Path, size: int) -> None:
    path = segment(tmp_path, "w1", [])
    path.write_bytes(path.read_bytes()[:size])
    assert len(read_segment(path)) == 0


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ops-x.seg").write_bytes(b"no history at all" * 10)
    with pytest.raises(RunNotFound, match="no history segment"):
        merge_operations(tmp_path)


def test_torn_and_missing_words_leave_out_what_was_never_sent(tmp_path: Path) -> None:
    path = segment(tmp_path, "w1", [(INVOKE, ECHO, "n1", "", 1, 1), (INVOKE, WRITE, "n1", "", 2, 2)])
    words = path.with_suffix(".words")
    words.write_text(words.read_text()[:-5])
    assert read_words(words) == ["", ECHO, "n1"]
    assert merge_operations(tmp_path).id.tolist() == [1]
    words.unlink()
    assert len(merge_operations(tmp_path)) == 0


def test_an_empty_folder_is_an_empty_history(tmp_path: Path) -> None:
    ops = merge_operations(tmp_path)
    assert len(ops) == 0
    assert not ops.of_kind("write").any()


def test_many_chunks_in_any_order_join(tmp_path: Path) -> None:
    made = Segment(tmp_path / "ops-w1.seg")
    op, node = made.words.number(WRITE), made.words.number("n1")
    order = np.random.default_rng(1).permutation(100_000)
    for ident in order:
        made.append(pack_record(INVOKE, op, node, 0, 1, int(ident), -1, 0, int(ident), -1))
    for ident in order[::2]:
        made.append(pack_record(OK, op, node, 0, 1, int(ident), -1, 0, int(ident) + 7, 1))
    made.close()
    ops = merge_operations(tmp_path)
    assert ops.id.tolist() == list(range(100_000))
    done = np.zeros(100_000, dtype=bool)
    done[order[::2]] = True
    assert np.array_equal(ops.outcome == OK, done)
    assert np.array_equal(ops.end[done], ops.start[done] + 7)


def test_words_keep_their_number_and_any_character(tmp_path: Path) -> None:
    made = Segment(tmp_path / "ops-w1.seg")
    hostile = 'quote " newline \n line separator \u2028 <script>'
    assert [made.words.number(w) for w in ("", hostile, WRITE, hostile)] == [0, 1, 2, 1]
    made.close()
    assert read_words(tmp_path / "ops-w1.words") == ["", hostile, WRITE]


def test_journal_lines_round_trip_and_torn_ones_are_left_out() -> None:
    events = [
        FaultRecord(1, "s1", "partition", "bit", ("n1", "n2"), {"packets": 3}),
        Observation(2, "n1", "nodedown", "n2", {"reason": "net_tick_timeout"}),
        Mark(3, "phase", {"phase": "load"}),
    ]
    lines = [event_to_json(event) for event in events]
    assert [event_from_json(line) for line in lines] == events
    assert read_events([*lines, lines[0][:-4], "{}", "", '{"type":"other"}', "null"]) == tuple(events)
