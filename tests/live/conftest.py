"""Lab hosts for the live tests: one boot per kernel, shared by all that can share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nvscope.lab import assets
from nvscope.lab.vm import Lab


def _boot(kernel: str, **changes: object) -> Iterator[Lab]:
    with assets.prepare(kernel).boot(**changes) as host:
        host.wait_ready()
        yield host
        assert host.warnings() == [], "the kernel complained on its console"


@pytest.fixture(scope="session")
def lab_host() -> Iterator[Lab]:
    """A host with the lab kernel, which has a nested reverse map."""
    yield from _boot("lab")


@pytest.fixture(scope="session")
def plain_host() -> Iterator[Lab]:
    """The same kernel with its reverse map off: it then does as mainline does."""
    yield from _boot("lab", revmap=False)


@pytest.fixture(scope="session", params=["revmap", "plain"])
def host(request: pytest.FixtureRequest) -> Lab:
    """Both of them, one after the other."""
    lab: Lab = request.getfixturevalue({"revmap": "lab_host", "plain": "plain_host"}[request.param])
    return lab


@pytest.fixture(scope="session")
def stock_host() -> Iterator[Lab]:
    """A host with Debian's kernel; one CPU, for there a full unmap costs a third of the time."""
    yield from _boot("stock", cpus=1)


@pytest.fixture(scope="module")
def host_without_nv() -> Iterator[Lab]:
    """A host that runs no nested guests."""
    yield from _boot("lab", kernel_mode="vhe", cpus=1)
