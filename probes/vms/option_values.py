"""What the value of a VMM's option says about its VM: names and uuids."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

# The keys of QEMU's -name (system/vl.c, qemu_name_opts). The first field is guest= by default.
_QEMU_NAME_KEYS = frozenset({"guest", "process", "debug-threads"})

# What a socket is called that tells no VM from another: what it is for, and whose it is.
_FILE_WORDS = frozenset({
    "api", "ch", "clh", "cloud", "cloudhypervisor", "control", "crosvm", "ctl", "event", "events",
    "fc", "fifo", "firecracker", "hypervisor", "kvm", "monitor", "sock", "socket", "vm", "vmm",
})  # fmt: skip
# Folders that hold those of all VMs, or lie within a VM's own (the jailer: ID/root/run/).
_FOLDER_WORDS = _FILE_WORDS | {
    "jail", "jailer", "lib", "libvirt", "root", "run", "shm", "sockets", "srv", "tmp", "user",
    "var", "vms",
}  # fmt: skip
_BETWEEN_WORDS = re.compile(r"[-_.]+")
# A user's run-time folder (pam_systemd): the number is the user's.
_USERS_FOLDER = re.compile(r"/run/user/\d+(?=/)")

# The FIFO that libvirt has cloud-hypervisor write its events to (ch_monitor.c, virCHMonitorNew).
_LIBVIRT_FIFO = "-event-monitor-fifo"


def guest_name(value: str) -> str:
    """Return the guest's name in the value of QEMU's -name ("" if it gives none).

    >>> guest_name("guest=db,debug-threads=on")
    'db'
    >>> guest_name("db,process=qemu:db"), guest_name("a,,b"), guest_name("debug-threads=on")
    ('db', 'a,b', '')
    """
    name = ""
    for number, field in enumerate(_qemu_fields(value)):
        key, equals, rest = field.partition("=")
        if equals and key in _QEMU_NAME_KEYS:
            name = rest if key == "guest" else name
        elif number == 0:
            name = field
    return name


def smbios_uuid(value: str) -> str:
    """Return the uuid in a value of QEMU's -smbios; "" where it describes something else.

    >>> smbios_uuid("type=1,manufacturer=A,,B,uuid=U"), smbios_uuid("type=3,uuid=U")
    ('U', '')
    """
    pairs = dict(field.partition("=")[::2] for field in _qemu_fields(value))
    return pairs.get("uuid", "") if pairs.get("type") == "1" else ""


def platform_uuid(value: str) -> str:
    """Return the uuid in the value of cloud-hypervisor's --platform, or "".

    >>> platform_uuid("tdx=on,uuid=U"), platform_uuid("tdx=on")
    ('U', '')
    """
    pairs = dict(field.partition("=")[::2] for field in value.split(","))
    return pairs.get("system_uuid") or pairs.get("uuid", "")


def path_name(value: str) -> str:
    """Return what a VM's socket or file is called, without its ending; "" of one that is inherited.

    A name that any VM's could have yields to that of the folder, and this to that of the next one.
    value: PATH, path=PATH or fd=N.

    >>> path_name("/run/db.sock"), path_name("path=/run/web.1.socket"), path_name("fd=3")
    ('db', 'web.1', '')
    >>> path_name("/srv/jailer/firecracker/db/root/run/firecracker.socket")
    'db'
    >>> path_name("/tmp/firecracker.socket")
    ''
    """
    key, equals, rest = value.partition("=")
    if equals and key == "fd":
        return ""
    path = _USERS_FOLDER.sub("", rest if equals and key == "path" else value, count=1)
    return next(_own_names(path), "")


def event_monitor_name(value: str) -> str:
    """Return the name in the value of cloud-hypervisor's --event-monitor; libvirt's has it whole.

    >>> event_monitor_name("path=/run/libvirt/ch/vm-event-monitor-fifo"), event_monitor_name("fd=4")
    ('vm', '')
    """
    name = posixpath.basename(value)
    if name.endswith(_LIBVIRT_FIFO):
        return name.removesuffix(_LIBVIRT_FIFO)
    return path_name(value)


def _own_names(path: str) -> Iterator[str]:
    """The parts of a path that are some VM's own, the last one first."""
    folder, file = posixpath.split(path.rstrip("/"))
    stem = posixpath.splitext(file)[0]
    if _tells_one(stem, _FILE_WORDS):
        yield stem
    yield from (part for part in reversed(folder.split("/")) if _tells_one(part, _FOLDER_WORDS))


def _tells_one(text: str, generic: frozenset[str]) -> bool:
    words = filter(None, _BETWEEN_WORDS.split(text.lower()))
    return any(word not in generic for word in words)


def _qemu_fields(value: str) -> Iterator[str]:
    """QEMU doubles a comma that is part of a value (docs/system/invocation, "-name")."""
    return (field.replace("\0", ",") for field in value.replace(",,", "\0").split(","))
