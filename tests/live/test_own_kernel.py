"""Kernels that a user gives as they are: they boot, and all counts on them are exact."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nvscope.lab import assets
from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.services import Exporter, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.kernel.subject import Subject
from tests.live.counts import assert_all_agree, oracle

READY_SECONDS, FACTS_SECONDS = 300, 600


class Given(NamedTuple):
    """A kernel as a user has it. unmaps: how many to count (a full one takes 20 s on Debian's);
    in_memory: where its root is.
    """

    subject: Subject
    unmaps: int
    in_memory: bool


def _lab(folder: Path) -> Given:
    """With all drivers built in, and compressed."""
    path = folder / "Image.gz"
    path.write_bytes(gzip.compress(assets.prepare("lab").machine.kernel.read_bytes(), 1))
    return Given(Subject(image=path), 23, in_memory=False)


def _stock(_folder: Path) -> Given:
    """With drivers in modules, which nobody brings."""
    return Given(Subject(image=assets.prepare("stock").machine.kernel), 2, in_memory=True)


def _stock_with_initrd(_folder: Path) -> Given:
    """With drivers in modules, which an initrd brings."""
    machine = assets.prepare("stock").machine
    return Given(Subject(image=machine.kernel, initrd=machine.initrd), 2, in_memory=False)


@pytest.fixture(
    params=[_lab, _stock, _stock_with_initrd], ids=["Image.gz", "modules", "initrd"], scope="module"
)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Each of the ways."""
    found: Given = request.param(tmp_path_factory.mktemp("given"))
    return found


@pytest.fixture(scope="module")
def own(given: Given) -> Iterator[Lab]:
    """A host with it; one CPU: see stock_host."""
    ready = assets.prepare(given.subject)
    assert ready.machine.in_memory == given.in_memory
    with ready.boot(cpus=1) as host:
        yield host.wait_ready(READY_SECONDS)
        assert host.warnings() == [], "the kernel complained on its console"


def test_counts_are_exact_on_it(given: Given, own: Lab) -> None:
    with Exporter(own, "--strict", timeout=READY_SECONDS) as exporter:
        oracle(own, "start")
        with Synthetic(own, "own", "--unmaps", str(given.unmaps), "--pages", "8") as guest:
            facts = guest.facts(FACTS_SECONDS)
            metrics = exporter.scrape()
            seen = oracle(own, "stop")
        assert facts["expected"]["notifier_unmaps"] == given.unmaps
        assert_all_agree(facts, metrics, seen)
        assert exporter.errors() == ""


def test_it_is_the_kernel_that_was_given(given: Given, own: Lab) -> None:
    release = own.run("uname -r").stdout.strip()
    image = assets.prepare(given.subject).machine.kernel.read_bytes()
    assert f"Linux version {release} ".encode() in image


def test_one_that_cannot_boot_is_told_with_what_it_said(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"no archive")
    ready = assets.prepare(Subject(image=assets.prepare("stock").machine.kernel, initrd=initrd))
    with (
        ready.boot(cpus=1, memory_mib=1024) as host,
        pytest.raises(GuestError, match="Unable to mount root fs"),
    ):
        host.wait_ready(READY_SECONDS)
