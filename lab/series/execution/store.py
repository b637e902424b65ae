"""The folder of a series: what was asked for, and each step's result once it is whole."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nvscope.lab.series.checks import outcome
from nvscope.lab.series.checks.outcome import Step
from nvscope.lab.series.execution.plan import extends
from nvscope.probes.errors import InputError, LackError

PLAN, STEPS, TRACES = "plan.json", "steps", "traces"


class Store:
    """Results below a folder. A file is there whole or not at all: written aside, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def open(self, asked: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Take the folder for this block, for a series that was asked for in these words.

        With `resume` they may add to those that it has results of. Raises InputError where it has
        results and `resume` was not asked for, or those of another series; LackError where another
        process has it, or it cannot be written.
        """
        try:
            for folder in (self.folder, self.folder / STEPS, self.folder / TRACES):
                folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise LackError(f"cannot write {self.folder}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LackError(f"{self.folder}: another series is at work in it") from None
            self._begin(dict(asked), resume)
            yield

    def asked(self) -> dict[str, Any] | None:
        """What the series in the folder was asked for; None where there is none."""
        path = self.folder / PLAN
        if not path.exists():
            return None
        return self._read(path)

    def get(self, subject: int, check: str) -> Step | None:
        """The result of a step, if it is there."""
        path = self._path(subject, check)
        if not path.exists():
            return None
        try:
            return outcome.step_of(self._read(path))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no result of a step ({error}): remove it") from None

    def put(self, subject: int, step: Step) -> None:
        """Keep the result of a step."""
        self.write(self._path(subject, step.check), json.dumps(outcome.as_json(step), indent=1))

    def trace(self, subject: int, check: str) -> Path:
        """Where a step's trace goes. It counts for nothing until the step's result is there."""
        return self.folder / TRACES / f"{_name(subject, check)}.arrows"

    def write(self, path: Path, text: str) -> None:
        """A file of the folder, whole. Raises LackError."""
        aside = path.with_name(f"{path.name}.partial")
        try:
            with aside.open("w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except OSError as error:
            raise LackError(f"cannot write {path}: {error.strerror}") from None

    def _begin(self, asked: dict[str, Any], resume: bool) -> None:
        before = self.asked()
        if before is not None and not resume:
            raise InputError(
                f"{self.folder} has results: --resume goes on with them, --out chooses another"
            )
        if before is not None and not extends(before, asked):
            raise InputError(
                f"{self.folder} has results of another series ({_shown(before)}): --resume alone"
                " goes on with it, subjects can only be added behind these, --out chooses another"
                " folder"
            )
        if before != asked:
            self.write(self.folder / PLAN, json.dumps(asked, indent=1))

    def _path(self, subject: int, check: str) -> Path:
        return self.folder / STEPS / f"{_name(subject, check)}.json"

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}): remove it") from None
        if not isinstance(data, dict):
            raise InputError(f"{path} is not of a series: remove it")
        return data


def _name(subject: int, check: str) -> str:
    return f"{subject}-{check}"


def _shown(asked: Mapping[str, Any]) -> str:
    quick = ["--quick"] if asked.get("quick") else []
    return " ".join([*quick, *map(str, asked.get("subjects", ()))]) or "unknown"
