"""The host that a command works with: one that is up, or one that it boots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nvscope.lab import assets
from nvscope.lab.host import running
from nvscope.lab.host.remote import Remote
from nvscope.lab.host.vm import Lab
from nvscope.lab.kernel.subject import Subject
from nvscope.lab.setup.steps import step

BOOT_TIMEOUT_SECONDS = 300  # the debug kernel is the slow one


def prepared(subject: Subject, revmap: str | None, with_selftests: bool = False) -> assets.Assets:
    """What is ready to boot; a reverse map that is spoken of must be there."""
    ready = assets.prepare(subject, with_selftests and not revmap)
    if revmap:
        ready.require_revmap()
        if with_selftests:  # built only where they will run
            return assets.prepare(subject, with_selftests)
    return ready


@contextmanager
def some_guest(subject: Subject) -> Iterator[Remote]:
    """The guest that is up with this kernel, else one booted for this block."""
    found = running.find(assets.identity(subject))
    if found:
        yield found.remote
        return
    with assets.prepare(subject).boot() as host:
        wait_ready(host)
        yield host.remote


def wait_ready(host: Lab) -> None:
    """Show that it boots, until it takes commands. Raises what Lab.wait_ready raises."""
    with step("lab host boots"):
        host.wait_ready(BOOT_TIMEOUT_SECONDS)
