"""A commit of a user's git tree as a source of its own: the tree is only read.

A clone that shares the tree's objects is checked out at one commit after the other. What does not
change from one to the next keeps its time, so that the next build compiles what has changed alone.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.setup import steps, store
from nvscope.probes.errors import InputError


@dataclass(frozen=True)
class Commit:
    """A commit, in whichever words, of the tree in a folder."""

    tree: Path
    name: str

    def check(self) -> None:
        """Raises InputError where there is no such commit."""
        self._sha()

    def check_out(self) -> Path:
        """The folder that now has the source of this commit. Raises InputError, LackError."""
        sha, home = self._sha(), self._home()
        with steps.step(f"{self.tree} at {self.name}"):
            if not (home / ".git").is_dir():
                store.artifact("checkouts", home.name, self._clone)
            _git(home, "checkout", "--quiet", "--force", "--detach", sha)
            _git(home, "clean", "--quiet", "-fdx")
        return home

    def _home(self) -> Path:
        return store.path_of("checkouts", store.digest(str(self.tree.resolve())))

    def _clone(self, folder: Path) -> None:
        _git(folder, "clone", "--quiet", "--shared", "--no-checkout", str(self.tree.resolve()), ".")

    def _sha(self) -> str:
        return _git(
            self.tree, "rev-parse", "--verify", "--quiet", f"{self.name}^{{commit}}"
        ).strip()


def _git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises InputError."""
    # In a hook git has set its own variables, which are of another tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "-c",
            "advice.detachedHead=false",
            "-C",
            folder,
            *arguments,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no such commit"])[-1]
        raise InputError(f"{folder}: git {arguments[0]} {arguments[-1]}: {reason}")
    return done.stdout
