"""Who saw whom, and when: one lane per node for the report's timeline."""

from __future__ import annotations

from typing import Any, Final

from harness.checkers import Facts

_MARKED: Final = ("inconsistent_database", "mnesia_overload", "busy_dist_port", "mnesia_error")
_DOWN: Final = ("kill", "pause")


def lanes(facts: Facts) -> list[dict[str, Any]]:
    """Per node: spans ``{start, end, state, text}`` (state whole, apart, mnesia or down) and marks ``{at, text}``."""
    made = {node: _Lane(node, facts) for node in facts.nodes}
    changes: list[tuple[int, str, str, str]] = [
        (e.time, facts.node(e.node), e.event, facts.node(e.peer)) for e in facts.history.observations()
    ]
    for window in facts.timeline.windows:
        if window.kind in _DOWN:
            back = window.healed if window.healed is not None else facts.timeline.load_end
            for target in window.targets:
                changes.append((window.in_force, target, f"{window.kind} begins", ""))
                changes.append((back, target, f"{window.kind} ends", ""))
    for time, node, event, peer in sorted(changes, key=lambda change: change[0]):
        if node in made:
            made[node].change(time, event, peer)
        if event in ("mnesia_up", "nodeup") and peer in made and node in made:
            made[peer].change(time, event, node)  # one end may see it alone, the other having just been started
    return [lane.told() for lane in made.values()]


class _Lane:
    def __init__(self, node: str, facts: Facts) -> None:
        self.node = node
        self.facts = facts
        self.since = facts.timeline.origin
        self.down = ""
        self.unseen: set[str] = set()
        self.unmerged: set[str] = set()
        self.spans: list[dict[str, Any]] = []
        self.marks: list[dict[str, Any]] = []

    def _state(self) -> tuple[str, str]:
        if self.down:
            return "down", "killed" if self.down == "kill" else "paused"
        if self.unseen:
            return "apart", f"misses {', '.join(sorted(self.unseen))}"
        if self.unmerged:
            return "mnesia", f"Mnesia apart from {', '.join(sorted(self.unmerged))}"
        return "whole", "sees everyone"

    def _close(self, time: int) -> None:
        relative = self.facts.timeline.relative
        time = min(max(time, self.facts.timeline.origin), self.facts.timeline.load_end)
        if time > self.since:
            state, text = self._state()
            start, end = round(relative(self.since), 3), round(relative(time), 3)
            if self.spans and self.spans[-1]["state"] == state and self.spans[-1]["text"] == text:
                self.spans[-1]["end"] = end
            else:
                self.spans.append({"start": start, "end": end, "state": state, "text": text})
        self.since = max(self.since, time)

    def change(self, time: int, event: str, peer: str) -> None:
        if event in _MARKED:
            at = round(self.facts.timeline.relative(time), 3)
            self.marks.append({"at": at, "text": f"{event} {peer}".strip()})
        self._close(time)
        known = peer in self.facts.nodes and peer != self.node
        match event:
            case "kill begins" | "pause begins":
                self.down = event.split()[0]
            case "kill ends":
                self.down = ""
                self.unseen, self.unmerged = set(), set()
            case "pause ends":
                self.down = ""
            case "nodedown" if known:
                self.unseen.add(peer)
            case "nodeup" if known:
                self.unseen.discard(peer)
            case "mnesia_down" | "inconsistent_database" if known:
                self.unmerged.add(peer)
            case "mnesia_up" if known:
                self.unmerged.discard(peer)
            case "mnesia_started":
                self.unmerged = set()

    def told(self) -> dict[str, Any]:
        self._close(self.facts.timeline.load_end)
        return {"node": self.node, "spans": self.spans, "marks": self.marks}
