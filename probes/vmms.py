"""How each VMM is told what its VM is: the options that name it, as data."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# The keys of QEMU's -name (system/vl.c, qemu_name_opts). The first field is guest= by default.
_QEMU_NAME_KEYS = frozenset({"guest", "process", "debug-threads"})


@dataclass(frozen=True)
class Given:
    """options: an option's names, without dashes; read: what of its value is meant, or ""."""

    options: tuple[str, ...]
    read: Callable[[str], str] = str


@dataclass(frozen=True)
class Vmm:
    """program: how its file's name begins; names, uuids: where to look, the best place first."""

    program: str
    names: tuple[Given, ...]
    uuids: tuple[Given, ...] = ()


def of(cmdline: Sequence[str], command: str) -> Vmm:
    """Return the VMM that a process is; what is not known is read as QEMU is.

    cmdline: with the program first, which may have any name; command: the process's own name.

    >>> of(["/usr/bin/crosvm", "run"], "crosvm").program, of(["python3"], "python3").program
    ('crosvm', 'qemu')
    """
    for program in (posixpath.basename(cmdline[0]) if cmdline else "", command):
        for vmm in VMMS:
            if program.startswith(vmm.program):
                return vmm
    return QEMU


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the value of the last `-name V`, `--name V`, `-name=V` or `--name=V`, or None.

    arguments: a command line without its first word; names: those of one option.

    >>> option(["-m", "4096", "-uuid", "1", "--uuid=2"], "uuid"), option(["-s", "a"], "socket", "s")
    ('2', 'a')
    """
    wanted = {dashes + name for name in names for dashes in ("-", "--")}
    value = None
    words = iter(arguments)
    for word in words:
        key, equals, rest = word.partition("=")
        if key in wanted:
            value = rest if equals else next(words, value)
    return value


def first(arguments: Sequence[str], places: Sequence[Given]) -> str:
    """Return what the first of the places gives that gives anything, or ""."""
    values = (place.read(option(arguments, *place.options) or "") for place in places)
    return next(filter(None, values), "")


def guest_name(value: str) -> str:
    """Return the guest's name in the value of QEMU's -name ("" if it gives none).

    QEMU doubles a comma that is part of the name (docs/system/invocation, "-name").

    >>> guest_name("guest=db,debug-threads=on")
    'db'
    >>> guest_name("db,process=qemu:db"), guest_name("a,,b"), guest_name("debug-threads=on")
    ('db', 'a,b', '')
    """
    fields = value.replace(",,", "\0").split(",")
    name = ""
    for number, field in enumerate(fields):
        key, equals, rest = field.partition("=")
        if equals and key in _QEMU_NAME_KEYS:
            name = rest if key == "guest" else name
        elif number == 0:
            name = field
    return name.replace("\0", ",")


def socket_stem(value: str) -> str:
    """Return what a socket is called, without folder and ending; "" of one that is inherited.

    >>> socket_stem("/run/db.sock"), socket_stem("path=/run/web.socket"), socket_stem("fd=3")
    ('db', 'web', '')
    """
    key, equals, rest = value.partition("=")
    if equals and key == "fd":
        return ""
    path = rest if equals and key == "path" else value
    return posixpath.splitext(posixpath.basename(path))[0]


def _platform_uuid(value: str) -> str:
    pairs = dict(field.partition("=")[::2] for field in value.split(","))
    return pairs.get("system_uuid") or pairs.get("uuid", "")


# -name, -uuid: qemu-options.hx. libvirt starts QEMU with both (qemu_command.c,
# qemuBuildNameCommandLine: guest=…,debug-threads=on).
QEMU = Vmm("qemu", (Given(("name",), guest_name),), (Given(("uuid",)),))

VMMS = (
    QEMU,
    # `crosvm run` (src/crosvm/cmdline.rs): -s, --socket PATH is the control socket; where --name
    # is known, it is the better one.
    Vmm("crosvm", (Given(("name",)), Given(("socket", "s"), socket_stem))),
    # --api-socket PATH, path=PATH or fd=N; --platform …,uuid=U, which newer ones call system_uuid
    # (cloud-hypervisor/src/main.rs, PlatformConfig::parse). A VM has no name.
    Vmm(
        "cloud-hypervisor",
        (Given(("api-socket",), socket_stem),),
        (Given(("platform",), _platform_uuid),),
    ),
    # --id ID, 64 letters, digits and hyphens at most (src/firecracker/src/main.rs). The jailer
    # passes its own on, and becomes the VMM (src/jailer/src/env.rs, exec_command).
    Vmm("firecracker", (Given(("id",)),), (Given(("id",)),)),
    # `lkvm run --name NAME` (kvmtool, builtin-run.c). -n is --network there.
    Vmm("lkvm", (Given(("name",)),)),
)
