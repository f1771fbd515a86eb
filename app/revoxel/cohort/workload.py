"""What a system brings to a cohort: pieces of work, and what is done before the first and after the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.cohort.ledger import Entry, Ledger, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from revoxel.cohort.engine import Job


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One task: what a worker does, and how the account calls it.

    Args:
        job: Unique name, function and arguments of the call.
        labels: What it is about, such as `{"subject": "sub-01"}`; the same keys in all pieces.
        folder: Where its results lie, relative to the root of the results.
        record: Record of its result, relative likewise; None for verbs without one.
        why: Why it has to be done; empty if it is done already.
        problem: Why it cannot be done; empty if it can.
    """

    job: Job
    labels: Mapping[str, str]
    folder: str
    record: str | None = None
    why: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """Unique among the pieces."""
        return self.job.name

    def entry(self) -> Entry:
        """The piece as it stands in a new account."""
        if self.problem:
            state, reason = State.FAILED, self.problem
        else:
            state, reason = (State.WAITING, self.why) if self.why else (State.DONE, "done before")
        return Entry(self.labels, self.folder, self.record, state, reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """Everything that one run does.

    Args:
        title: What a person reads above the run.
        out: Root of the results.
        pieces: All tasks, those that are done already included.
        facts: What stands at the top of `cohort.json`.
        begin: Called once the folder of results is claimed.
        finish: Called with the account when every piece has ended.
    """

    title: str
    out: Path
    pieces: tuple[Piece, ...]
    facts: Mapping[str, Any]
    begin: Callable[[], None] = lambda: None
    finish: Callable[[Ledger], None] = lambda _ledger: None
