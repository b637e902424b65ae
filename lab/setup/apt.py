"""Debian packages through an apt of our own: private lists, private cache, no source left behind.

The mirror is the one that this machine's apt already uses, so that it works behind a local
mirror too; only the suites differ.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nvscope.lab.setup.paths import cache_dir
from nvscope.probes.errors import LackError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def host_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """This machine's Debian release by code name, e.g. "bookworm"."""
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    if fields.get("ID", "").strip('"') != "debian":
        raise LackError(
            "the lab sets itself up with Debian's packages, and this machine is not Debian; "
            "run it on Debian 12 or later (a virtual machine will do)"
        )
    return fields.get("VERSION_CODENAME", "").strip('"')


def mirror() -> str:
    """The base URI of the Debian archive that this machine's apt is configured for."""
    suite = host_suite()
    # Without its lists, which a fresh machine does not have, apt knows its sources only so.
    command = ["apt-get", "indextargets", "--no-release-info"]
    listing = subprocess.run(
        [*command, "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in listing.splitlines():
        uri, _, release = line.partition(" ")
        if release == suite:
            return uri
    raise LackError(
        f"apt has no source for Debian {suite}: add its main archive to /etc/apt/sources.list"
    )


def native_architecture() -> str:
    """This machine's, by Debian's name: "amd64" | "arm64"."""
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Apt:
    """An apt with its own lists for one architecture, kept in the cache under `name`.

    on_host: resolve against this machine's installed packages (to install on it) rather than
    against nothing (to fetch a closure). pins: package pattern -> suite to prefer for it; retries:
    of what could not be fetched, one second later, then two, then four.
    """

    name: str
    arch: str
    suites: Sequence[str]
    pins: dict[str, str] = field(default_factory=dict)
    on_host: bool = False
    retries: int = 3

    @property
    def folder(self) -> Path:
        """This apt's own state, below the cache folder."""
        return cache_dir() / "apt" / self.name

    @property
    def archives(self) -> Path:
        """Where downloaded packages lie."""
        return self.folder / "cache" / "archives"

    def update(self) -> None:
        """Fetch the package lists afresh."""
        self._configure()
        self._run("update")

    def download(self, packages: Sequence[str]) -> None:
        """Fetch `packages` and all that they depend on into `archives`, and nothing else there."""
        self._run("clean")
        self._run("install", "--yes", "--download-only", *packages)

    def download_only(self, package: str, into: Path) -> Path:
        """Fetch one package without its dependencies; returns the .deb."""
        into.mkdir(parents=True, exist_ok=True)
        for old in into.glob(f"{package}_*.deb"):
            old.unlink()
        self._run("download", package, cwd=into)
        return next(into.glob(f"{package}_*.deb"))

    def install(self, packages: Sequence[str]) -> None:
        """Install on this machine (root only). Interrupted, this ends when all is installed."""
        self._run("install", "--yes", *packages, whole=True)

    def clean(self) -> None:
        """Drop the downloaded packages."""
        self._run("clean")

    def names(self, pattern: str) -> list[str]:
        """The packages of the archive whose names begin with `pattern`, sorted."""
        output = self._run("pkgnames", pattern, tool="apt-cache")
        return sorted(output.split())

    def candidate(self, package: str) -> str | None:
        """The version that would be installed, or None where the archive has none."""
        for line in self._run("policy", package, tool="apt-cache").splitlines():
            name, _, value = line.strip().partition(": ")
            if name == "Candidate" and value != "(none)":
                return value
        return None

    def _configure(self) -> None:
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        uri = mirror()
        (self.folder / "sources.list").write_text(
            "".join(
                f"deb [arch={self.arch} signed-by={KEYRING}] {uri} {suite} main\n"
                for suite in self.suites
            )
        )
        (self.folder / "preferences").write_text(
            "\n".join(
                f"Package: {name}\nPin: release n={suite}\nPin-Priority: 990\n"
                for name, suite in self.pins.items()
            )
        )
        (self.folder / "status").touch()
        (self.folder / "apt.conf").write_text(self._conf())

    def _conf(self) -> str:
        lines = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": self.folder / "preferences",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": self.folder / "state/lists",
            "Dir::Cache": self.folder / "cache",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": self.retries,
            # Without it an unreachable mirror is but a warning, and all packages seem gone.
            "APT::Update::Error-Mode": "any",
        }
        if not self.on_host:
            lines |= {
                "Dir::State": self.folder / "state",
                "Dir::State::status": self.folder / "status",
                "APT::Architecture": self.arch,
                "APT::Architectures": self.arch,
            }
        return "".join(f'{key} "{value}";\n' for key, value in lines.items())

    def _run(
        self, *args: str, tool: str = "apt-get", cwd: Path | None = None, whole: bool = False
    ) -> str:
        """What it prints. whole: it is not to be ended on its way. Raises LackError."""
        process = subprocess.Popen(
            [tool, "-q", *args],
            env=os.environ
            | {
                "APT_CONFIG": str(self.folder / "apt.conf"),
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            # In a group of its own it hears neither Ctrl-C nor what ends our other commands. (In a
            # session of its own it would not have our priority: sched(7), autogroups.)
            process_group=0 if whole else None,
        )
        output, errors = _outcome(process, whole)
        if process.returncode != 0:
            raise LackError(f"{tool} {args[0]} failed: {_reason(errors)}")
        return output


def _outcome(process: subprocess.Popen[str], whole: bool) -> tuple[str, str]:
    """What it prints and complains of, when it has ended; we are interrupted then, or at once."""
    try:
        return process.communicate()
    except BaseException:
        if not whole:
            process.kill()
        process.communicate()
        raise


def _reason(stderr: str) -> str:
    """The first error that apt gives, and what to do about it where that is known.

    >>> _reason("E: Failed to fetch http://d/x  Could not connect to d:80\\nE: Some index files\\n")
    'Failed to fetch http://d/x  Could not connect to d:80 (must be reachable: the Debian archive)'
    """
    errors = [line[2:].strip() for line in stderr.splitlines() if line.startswith("E:")]
    reason = errors[0] if errors else (stderr.strip().splitlines() or ["no reason given"])[-1]
    if "Failed to fetch" in stderr:
        reason += " (must be reachable: the Debian archive)"
    return reason
