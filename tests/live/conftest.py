"""Lab hosts for the live tests: one boot per kernel, shared by all that can share it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nvscope.lab import assets
from nvscope.lab.services import Exporter
from nvscope.lab.vm import Lab

KINDS = ("lab", "plain", "stock")
# What the tests of one file share: a host of another kind, or a server.
OF_A_FILE = {"systemd_host", "host_without_nv", "prometheus", "programs"}


class Observed(NamedTuple):
    """A host, its exporter, and how that has attached its probes."""

    host: Lab
    exporter: Exporter
    mechanism: str


def _group(item: pytest.Item) -> str:
    """Say what a test shares with others: a kind of host, or its file; its own name if nothing."""
    fixtures = _fixtures(item)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    for name in ("observed", "kind"):
        if name in parameters:
            return str(parameters[name]).split("-")[0]
    for kind in KINDS:
        if f"{kind}_host" in fixtures:
            return kind
    return item.path.name if fixtures & OF_A_FILE else item.nodeid


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what a test shares: several processes then share the tests (`pytest -n 2 --dist
    loadgroup`) without a second boot of a host.

    As early as that: xdist looks at the marks in pytest_collection_modifyitems.
    """
    item.add_marker(pytest.mark.xdist_group(_group(item)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with an exporter of their own go first: the shared ones keep their ports to the end.

    Of the others those of the probes go first, and the Linux guest last: it leaves a page cache,
    which kswapd would take before the memory of VMs.
    """
    order = {"test_probe.py": 1, "test_linux_guest.py": 3}
    items.sort(
        key=lambda item: order.get(item.path.name, 2) if "observed" in _fixtures(item) else 0
    )


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


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


@pytest.fixture(scope="session")
def stock_host() -> Iterator[Lab]:
    """A host with Debian's kernel; one CPU, for there a full unmap costs a third of the time."""
    yield from _boot("stock", cpus=1)


@pytest.fixture(scope="session")
def observed(request: pytest.FixtureRequest) -> Iterator[Observed]:
    """A host and its exporter, which all tests share that can: compiling it takes the time.

    The parameter says which, as "lab-fentry": the kind of host and the mechanism.
    """
    kind, mechanism = request.param.split("-")
    host: Lab = request.getfixturevalue(f"{kind}_host")
    with Exporter(host, "--strict", "--mechanism", mechanism) as exporter:
        yield Observed(host, exporter, mechanism)
        assert exporter.errors() == ""
        exporter.signal()
        assert exporter.wait() == 0


@pytest.fixture(scope="module")
def host_without_nv() -> Iterator[Lab]:
    """A host that runs no nested guests."""
    yield from _boot("lab", kernel_mode="vhe", cpus=1)
