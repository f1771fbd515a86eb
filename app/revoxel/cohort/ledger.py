"""The account of a run on disk: `cohort.json` while it goes on and after, `failures.csv` with the reasons."""

from __future__ import annotations

import csv
import io
import logging
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel import __version__
from revoxel.core.provenance import write_sidecar
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

logger = logging.getLogger(__name__)

COHORT_FILE = "cohort.json"
FAILURES_FILE = "failures.csv"
_WRITE_EVERY_S = 5.0


class State(StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Entry:
    """One task in the account.

    Args:
        labels: What it is about, such as subject, spacing and pulse.
        folder: Where its results lie, relative to the root of the results.
        record: The record of its result, relative too; None for verbs without one.
        state: How far it is.
        reason: Why it has to be done, or why it failed, or that it was done before.
        seconds: What it took.
    """

    labels: Mapping[str, str]
    folder: str
    record: str | None
    state: State = State.WAITING
    reason: str = ""
    seconds: float | None = None


class Ledger:
    """Entries by name of the task, and the files that repeat them.

    Args:
        out: Root of the results; `None` keeps the account in memory.
        facts: What stands at the top of `cohort.json`.
        entries: One per task.
    """

    def __init__(self, out: Path | None, facts: Mapping[str, Any], entries: dict[str, Entry]) -> None:
        self.out = out
        self.facts = {**facts, "version": __version__}
        self.entries = entries
        self._written = float("-inf")

    def count(self, state: State) -> int:
        """Number of tasks in a state."""
        return sum(entry.state is state for entry in self.entries.values())

    def failed(self) -> dict[str, Entry]:
        """Entries of the tasks that failed."""
        return {name: entry for name, entry in self.entries.items() if entry.state is State.FAILED}

    def running(self, names: list[str]) -> None:
        """Note which tasks are running now.

        Args:
            names: All of them.
        """
        for name in names:
            self.entries[name].state = State.RUNNING
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            self.write()

    def end(self, name: str, reason: str, seconds: float) -> None:
        """Note what became of a task.

        Args:
            name: Of the task.
            reason: Why it failed; empty if it did not.
            seconds: What it took.
        """
        entry = self.entries[name]
        entry.state = State.FAILED if reason else State.DONE
        entry.reason = reason or entry.reason
        entry.seconds = round(seconds, 1)

    def stop(self) -> None:
        """Note that what was running is not."""
        for entry in self.entries.values():
            if entry.state is State.RUNNING:
                entry.state = State.WAITING
        self.write()

    def write(self) -> None:
        """Write both files; a full disk is told, and does not stop the run."""
        if self.out is None:
            return
        self._written = time.monotonic()
        tasks = [_plain(entry) for entry in self.entries.values()]
        try:
            write_sidecar(self.out / COHORT_FILE, {**self.facts, "tasks": tasks}, overwrite=True)
            with atomic_path(self.out / FAILURES_FILE, overwrite=True) as temporary:
                temporary.write_text(_failures(self.entries.values()), encoding="utf-8")
        except OSError as error:
            logger.warning("the account of the run could not be written: %s", error)


def _plain(entry: Entry) -> dict[str, Any]:
    fields = asdict(entry)
    fields = {**fields.pop("labels"), **fields}
    if entry.record is None or entry.state is not State.DONE:
        del fields["record"]
    return fields


def _failures(entries: Collection[Entry]) -> str:
    """One line per task that failed, under the names of the labels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*next((entry.labels for entry in entries), ()), "reason"])
    failed = (entry for entry in entries if entry.state is State.FAILED)
    writer.writerows([*entry.labels.values(), entry.reason] for entry in failed)
    return text.getvalue()
