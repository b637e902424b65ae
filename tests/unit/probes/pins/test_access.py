"""Pins: who may read them, who may not, and that nobody else can keep loaders away."""

from __future__ import annotations

import mmap
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.probes.counts import decode
from nvscope.probes.counts.counters import MAPS
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import libbpf
from nvscope.probes.pins import bpffs, write
from nvscope.probes.pins.cli import load
from nvscope.probes.pins.layout import ABOUT, CURRENT, LINKS, LOCK
from nvscope.probes.pins.pinned import Pinned
from tests.unit.probes.counts.maps import KINDS, Counted
from tests.unit.probes.pins.fakes import FakeLoaded, folders

# A group of readers, and a user that is in no group.
READERS, NOBODY = 47110, 65534


# As another user, with no capability; arguments: the folder, and groups to be in.
AS_NOBODY = """
import fcntl, mmap, os, sys
from pathlib import Path
from nvscope.probes.kernel import libbpf
from nvscope.probes.errors import LackError
from nvscope.probes.pins.about import our_stamp
from nvscope.probes.pins.pinned import Pinned
our_stamp(), libbpf.library()  # the checkout itself may be closed to others
folder, groups = Path(sys.argv[1]), [int(group) for group in sys.argv[2:]]
os.setgroups(groups); os.setgid(65534); os.setuid(65534)
"""

READER = """
source = Pinned(folder)
print(source.snapshot().lost["vm_full"])
for attempt in (
    lambda: libbpf.write_array(source._opened.counters.maps["lost"], 0, 1),
    lambda: libbpf.write(source._opened.counters.maps["rows"], 0, bytes(384)),
    lambda: mmap.mmap(source._opened.counters.maps["rows"], 4096),
    lambda: mmap.mmap(source._opened.counters.maps["rows"], 4096, prot=mmap.PROT_WRITE),
    lambda: (folder / "current" / "rows").unlink(),
    lambda: (folder / "current").rename(folder / "other"),
    lambda: list((folder / "current" / "links").iterdir()),
    lambda: list(folder.iterdir()),
):
    try:
        attempt()
    except OSError as error:
        print(error.strerror)
"""

# The commands take a folder that their user may go through, and not list.
NAMING = """
from nvscope.exporter.cli import export
from nvscope.probes.pins.cli import unload
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for command in (export, unload):
    [option] = [each for each in command.params if each.name in ("pinned", "folder")]
    print(option.type.convert(sys.argv[1], option, None))
"""

STRANGER = """
for path in (".", "lock", "current", "current/rows", "current/about", "current/links"):
    for attempt in (lambda path: os.open(folder / path, os.O_RDONLY), libbpf.open_pinned):
        try:
            attempt(folder / path)
        except OSError as error:
            print(error.strerror)
try:
    Pinned(folder).snapshot()
except LackError as error:
    print(error.message)
"""


def let_through(folder: Path) -> None:
    """Let other users come as far as this folder."""
    for parent in list(folder.parents)[: -len(Path(tempfile.gettempdir()).parts)]:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)


def as_nobody(code: str, folder: Path, *groups: int) -> list[str]:
    """What it prints."""
    let_through(folder)
    arguments = [AS_NOBODY + code, folder, *map(str, groups)]
    done = subprocess.run(
        [sys.executable, "-c", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_member_of_the_group_can_read_and_no_more(mount: Path, loaded: FakeLoaded) -> None:
    write.pin(loaded, mount, READERS)
    said = ["0", *["Operation not permitted"] * 4, *["Permission denied"] * 4]
    assert as_nobody(READER, mount, READERS) == said


def test_what_is_pinned_is_frozen(mount: Path, loaded: FakeLoaded) -> None:
    """Its loader and root, too, can no longer write to it, but can read."""
    loaded.maps.count(VmKey(1, 2), decode.LABELS[0], Counted({7: 10}))
    loaded.maps.settle()
    write.pin(loaded, mount)
    for name in MAPS:
        pinned = libbpf.open_pinned(mount / CURRENT / name, mapping=True)
        for fd in (loaded.maps.fds[name], pinned):
            with pytest.raises(PermissionError):
                libbpf.write(fd, 0, bytes(KINDS[name].value_bytes))
            with pytest.raises(PermissionError):
                mmap.mmap(fd, mmap.PAGESIZE)
        os.close(pinned)
    with Pinned(mount) as source:
        assert source.snapshot().notifier_unmaps[0].durations.count == 10


def test_maps_that_are_written_to_are_not_pinned(mount: Path, loaded: FakeLoaded) -> None:
    loaded.maps.heads()  # maps its memory for writing
    with pytest.raises(LackError, match=r"cannot pin to .*: Device or resource busy"):
        write.pin(loaded, mount)
    assert folders(mount) == []


def test_the_folder_can_be_named_by_who_cannot_list_it(mount: Path) -> None:
    let_through(mount)
    code = "import os, sys" + NAMING
    done = subprocess.run(
        [sys.executable, "-c", code, mount], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(mount)] * 2


@pytest.mark.parametrize("group", [None, READERS])
def test_others_can_neither_list_nor_open_anything(
    mount: Path, loaded: FakeLoaded, group: int | None
) -> None:
    """The keys are addresses of the kernel, which kernel.kptr_restrict keeps from them."""
    with bpffs.alone(mount):
        write.pin(loaded, mount, group)
        *refused, last = as_nobody(STRANGER, mount)
    assert set(refused) == {"Permission denied"}
    assert len(refused) == 12
    assert last == (
        f"not allowed to read what is loaded in {mount}: be root, or in the group that"
        " nvscope load --group named"
    )


@pytest.mark.parametrize("umask", [0, 0o077])
def test_who_may_do_what(mount: Path, loaded: FakeLoaded, umask: int) -> None:
    loaded.links["s2_fault_entry"] = loaded.counters.maps["rows"]
    before = os.umask(umask)
    try:
        write.pin(loaded, mount, READERS)
    finally:
        os.umask(before)
    readers, ours = (0o440, READERS), (0o600, os.getegid())
    mappers = (0o660, READERS)
    expected = {
        mount: (0o711, os.getegid()),
        mount / CURRENT: (0o750, READERS),
        mount / CURRENT / ABOUT: readers,
        **{mount / CURRENT / name: mappers for name in MAPS},
        mount / CURRENT / LINKS: (0o700, os.getegid()),
        mount / CURRENT / LINKS / "s2_fault_entry": ours,
    }
    found = {path: path.stat() for path in (mount, mount / CURRENT, *mount.glob("current/**/*"))}
    assert {p: (s.st_mode & 0o777, s.st_gid) for p, s in found.items()} == expected


# Holds a lock on all that it can open, and says so.
HOLDER = """
held = 0
for path in (folder, folder / "lock"):
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        held += 1
    except OSError:
        pass
print(held, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", [0o711, 0o755])
def test_another_user_cannot_keep_loaders_away(tmp_path: Path, mode: int) -> None:
    """A stand-in for a folder of a BPF file system: the other one can open it with 0755."""
    if os.geteuid():
        pytest.skip("no right to be another user")
    folder = tmp_path / "bpf"
    folder.mkdir()
    folder.chmod(mode)
    with bpffs.alone(folder):
        pass
    let_through(folder)
    command = [sys.executable, "-c", AS_NOBODY + HOLDER, folder]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == (mode == 0o755)
        with bpffs.alone(folder):
            pass
        holder.communicate()


def test_a_lock_of_anothers(mount: Path) -> None:
    (mount / LOCK).mkdir(mode=0o700)
    os.chown(mount / LOCK, NOBODY, NOBODY)
    with (
        pytest.raises(LackError, match=f"{mount}/lock is not ours alone: as root, rmdir"),
        bpffs.alone(mount),
    ):
        pytest.fail("by a lock that another can hold")


def test_a_folder_in_a_bpf_file_system_is_made(mount: Path) -> None:
    below = mount / "nvscope"
    bpffs.require(below)
    bpffs.require(below)
    assert stat.S_IMODE(below.stat().st_mode) == bpffs.MODE
    below.chmod(0o1777)
    with pytest.raises(LackError, match=f"anybody may write to {below}: as root, chmod 711"):
        bpffs.require(below)
    with pytest.raises(LackError, match="No such file or directory; run as root"):
        bpffs.require(mount / "no" / "where")


def test_a_group_that_the_loader_is_not_in(
    mount: Path, loaded: FakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may give files to any group; the service has no such right (CAP_CHOWN)."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(LackError) as raised:
        write.pin(loaded, mount, READERS)
    assert raised.value.message == (
        f"cannot pin to {mount}: Operation not permitted (to give it to group {READERS}, be a"
        " member of it: Group= of the service)"
    )
    assert folders(mount) == []


@pytest.mark.parametrize(
    ("text", "said"), [("no-such-group", "'no-such-group'"), ("-1", "'-1'"), ("4294967295", "")]
)
def test_no_such_group(text: str, said: str) -> None:
    done = CliRunner().invoke(load, ["--group", text])
    assert done.exit_code == 2
    assert f"there is no group {said}" in done.output
