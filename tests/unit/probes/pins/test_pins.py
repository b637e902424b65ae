"""Pins: what a loader writes and an exporter reads, on a BPF file system where one can be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import nvscope
from nvscope.probes.counts import decode
from nvscope.probes.counts.counters import MAPS, WRITTEN
from nvscope.probes.counts.snapshot import Room, VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import libbpf
from nvscope.probes.pins import about, bpffs, readable, write
from nvscope.probes.pins.layout import ABOUT, CURRENT, LOADING
from nvscope.probes.pins.pinned import Pinned
from tests.unit.exporter.fakes import ATTACHMENTS
from tests.unit.probes.counts.maps import Counted
from tests.unit.probes.pins.fakes import FakeLoaded, folders, make_loaded


@pytest.fixture(autouse=True)
def not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write to maps that are pinned, in place of programs; test_access.py does not need
    that.
    """
    monkeypatch.setattr(libbpf, "freeze", lambda fd: None)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_pinned_is_read(mount: Path, loaded: FakeLoaded) -> None:
    libbpf.write_array(loaded.counters.maps["lost"], decode.LOSSES.index("vm_full"), 7)
    write.pin(loaded, mount)
    files = open_files()
    with Pinned(mount) as source:
        snapshot = source.snapshot()
        assert snapshot.lost["vm_full"] == 7
        assert snapshot.room == {"rows": Room(0, 48), "mmus": Room(0, 64)}
        assert source.attachments == ATTACHMENTS
        assert source.host == about.Host("7.3.4", True, "none")
        libbpf.write_array(loaded.counters.maps["lost"], decode.LOSSES.index("vm_full"), 8)
        assert source.snapshot().lost["vm_full"] == 8
        source.forget(VmKey(1, 2))
    assert open_files() == files


def test_rows_of_all_stripes_are_read(mount: Path, loaded: FakeLoaded) -> None:
    vm, labels = VmKey(1, 2), decode.LABELS[0]
    write.pin(loaded, mount)
    with Pinned(mount) as source:
        assert list(source.snapshot().rows()) == []
        for stripe in range(3):
            loaded.maps.count(vm, labels, Counted({7: 10}, sum_ns=1000), stripe)
        (found,) = source.snapshot().notifier_unmaps
        assert (found.durations.count, found.durations.sum_ns) == (30, 3000)
        assert source.snapshot().room["rows"] == Room(3, 48)
        loaded.counters.forget(vm)
        assert list(source.snapshot().rows()) == []


def test_readers_get_no_map_that_is_written_to(mount: Path, loaded: FakeLoaded) -> None:
    write.pin(loaded, mount)
    pins = {path.name for path in (mount / CURRENT).iterdir()}
    assert pins & set(loaded.maps.fds) == set(MAPS)
    assert not pins & set(WRITTEN)


def test_pins_may_come_later_go_and_be_replaced(mount: Path, loaded: FakeLoaded) -> None:
    source = Pinned(mount)
    with pytest.raises(LackError, match=f"nothing is loaded in {mount}: as root, nvscope load"):
        source.snapshot()
    assert source.host is None
    write.pin(loaded, mount)
    assert source.snapshot().lost["vm_full"] == 0
    making = make_loaded()
    other = next(making)
    libbpf.write_array(other.counters.maps["lost"], decode.LOSSES.index("vm_full"), 5)
    write.pin(other, mount)
    assert source.snapshot().lost["vm_full"] == 5
    assert write.unpin(mount)
    with pytest.raises(LackError, match="nothing is loaded"):
        source.snapshot()
    assert source.attachments == ()
    assert not write.unpin(mount)


def test_pins_of_another_version(
    mount: Path, loaded: FakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "our_stamp", lambda: "9.9 (layout 0)")
    write.pin(loaded, mount)
    files = open_files()
    with pytest.raises(LackError) as raised:
        Pinned(mount).snapshot()
    assert "is of nvscope 9.9 (layout 0), and this is 0.1.0 (layout " in raised.value.message
    assert "nvscope load --replace" in raised.value.message
    assert open_files() == files


def told(folder: Path) -> str:
    """What a package's script is told."""
    return CliRunner().invoke(readable.main, [str(folder)]).output.strip()


def test_pins_of_another_version_with_the_same_layout(
    mount: Path, loaded: FakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(mount) == "none"
    ours = write.our_stamp()
    monkeypatch.setattr(write, "our_stamp", lambda: ours.replace(nvscope.__version__, "9.9"))
    write.pin(loaded, mount)
    with Pinned(mount) as source:
        assert source.snapshot().lost["vm_full"] == 0
    assert told(mount) == "yes"
    monkeypatch.setattr(write, "our_stamp", lambda: "9.9 (layout 0)")
    write.pin(loaded, mount)
    assert told(mount) == "no"


def test_what_goes_wrong_half_way_leaves_nothing(
    mount: Path, loaded: FakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.pin(loaded, mount)
    before = (mount / CURRENT).stat().st_ino
    loaded.links["s2_fault_entry"] = 10_000  # no such file
    with pytest.raises(LackError, match="cannot pin to"):
        write.pin(loaded, mount)
    assert folders(mount) == [CURRENT]
    assert (mount / CURRENT).stat().st_ino == before


def test_what_a_killed_loader_left_is_taken_away(mount: Path, loaded: FakeLoaded) -> None:
    (mount / LOADING).mkdir()
    libbpf.pin(loaded.counters.maps["rows"], mount / LOADING / "rows")
    assert write.unpin(mount)
    assert folders(mount) == []


def test_one_loader_at_a_time(mount: Path) -> None:
    with (
        bpffs.alone(mount),
        pytest.raises(LackError, match="another loader is at work"),
        bpffs.alone(mount),
    ):
        pytest.fail("two at once")
    with bpffs.alone(mount):
        pass


def test_no_bpf_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "mount"
    refusing.write_text("#!/bin/sh\necho 'mount: permission denied.' >&2\nexit 32\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LackError) as raised:
        bpffs.require(tmp_path / "bpf")
    assert raised.value.message == (
        f"no BPF file system at {tmp_path}/bpf, and none can be mounted there:"
        f" mount: permission denied.; as root: mount -t bpf -o mode=0711 bpf {tmp_path}/bpf"
    )


def test_what_is_said_of_a_loader_has_its_bounds() -> None:
    said = about.About(about.our_stamp(), about.Host("7.3", None, "none"), ATTACHMENTS)
    assert about.parse(said.to_bytes()) == said
    assert about.read_stamp(said.to_bytes()) == about.our_stamp()
    with pytest.raises(ValueError, match="there is room for"):
        about.About("x" * about.ABOUT_BYTES, said.host, ()).to_bytes()
    assert about.read_stamp(b"[1]") == about.read_stamp(b'{"stamp": 1}') == ""


def test_the_name_of_a_pin_has_no_dot() -> None:
    assert not any("." in name for name in (*decode.POINTS, CURRENT, LOADING, ABOUT))
