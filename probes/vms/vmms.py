"""How each VMM is told what its VM is: the options that name it, as data."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nvscope.probes.vms import option_values

# The longest name of a process, which is cut to that (TASK_COMM_LEN, less the NUL at its end).
_COMMAND_BYTES = 15

# microvm.nix starts every VMM under this name and the VM's (lib/runner.nix, prettyProcnames).
_TITLE = "microvm@"

# All words behind it are no options, in each of them.
_END_OF_OPTIONS = "--"


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


def of(cmdline: Sequence[str], command: str, file: str = "") -> Vmm:
    """Return the VMM that a process is; what is not known is read as QEMU is.

    cmdline: with the program first, which may have any name; command: the process's own name;
    file: what it runs, or "". The file goes first, for a process can be called anything.

    >>> of(["/usr/bin/crosvm", "run"], "crosvm").program, of(["python3"], "python3").program
    ('crosvm', 'qemu')
    >>> of(["microvm@web"], "cloud-hyperviso").program, of(["vm"], "vm", "/bin/lkvm").program
    ('cloud-hypervisor', 'lkvm')
    """
    for program in (file, cmdline[0] if cmdline else "", command):
        for vmm in VMMS:
            if _is(vmm, program):
                return vmm
    return QEMU


def title(cmdline: Sequence[str]) -> str:
    """Return the VM's name that a process is called by itself, or "".

    >>> title(["microvm@web", "--cpus", "boot=2"]), title(["/usr/bin/crosvm"])
    ('web', '')
    """
    called = cmdline[0] if cmdline else ""
    return called.removeprefix(_TITLE) if called.startswith(_TITLE) else ""


def values(arguments: Sequence[str], *names: str) -> Iterator[str]:
    """Yield the values of each `-name V`, `--name V`, `-name=V` and `--name=V`.

    arguments: a command line without its first word; names: those of one option.

    >>> list(values(["-m", "4096", "-uuid", "1", "--uuid=2", "--", "-uuid", "3"], "uuid"))
    ['1', '2']
    """
    wanted = {dashes + name for name in names for dashes in ("-", "--")}
    words = iter(arguments)
    for word in words:
        if word == _END_OF_OPTIONS:
            return
        key, equals, rest = word.partition("=")
        if key in wanted:
            value = rest if equals else next(words, None)
            if value is not None:
                yield value


def first(arguments: Sequence[str], places: Sequence[Given]) -> str:
    """Return what the first of the places gives that gives anything, or "".

    Of an option that is there several times, the last value that gives anything is taken.
    """
    for place in places:
        found = [said for value in values(arguments, *place.options) if (said := place.read(value))]
        if found:
            return found[-1]
    return ""


def _is(vmm: Vmm, program: str) -> bool:
    # Nix's wrappers are called after what they wrap, which is then called .NAME-wrapped.
    name = posixpath.basename(program).lstrip(".")
    may_be_cut = len(name) == _COMMAND_BYTES
    return name.startswith(vmm.program) or (may_be_cut and vmm.program.startswith(name))


# -name, -uuid: qemu-options.hx. libvirt starts QEMU with both (qemu_command.c,
# qemuBuildNameCommandLine: guest=…,debug-threads=on); Proxmox has -smbios in place of -uuid, and
# an option of its own, -id (PVE/QemuServer.pm, config_to_command).
QEMU = Vmm(
    "qemu",
    (Given(("name",), option_values.guest_name), Given(("id",))),
    (Given(("uuid",)), Given(("smbios",), option_values.smbios_uuid)),
)

VMMS = (
    QEMU,
    # `crosvm run` (src/crosvm/cmdline.rs): -s, --socket PATH is the control socket; where --name
    # is known, it is the better one. ChromeOS: /run/vm/X/crosvm.sock (vm_tools/concierge).
    Vmm("crosvm", (Given(("name",)), Given(("socket", "s"), option_values.path_name))),
    # --api-socket PATH, path=PATH or fd=N; --platform …,uuid=U, which newer ones call system_uuid
    # (cloud-hypervisor/src/main.rs, PlatformConfig::parse). A VM has no name. Kata containers:
    # /run/vc/vm/ID/clh-api.sock (virtcontainers/clh.go); libvirt passes the socket's descriptor.
    Vmm(
        "cloud-hypervisor",
        (
            Given(("api-socket",), option_values.path_name),
            Given(("event-monitor",), option_values.event_monitor_name),
        ),
        (
            Given(("platform",), option_values.platform_uuid),
            Given(("api-socket",), option_values.path_name),
        ),
    ),
    # --id ID, 64 letters, digits and hyphens at most (src/firecracker/src/main.rs). The jailer
    # passes its own on, and becomes the VMM (src/jailer/src/env.rs, exec_command). Others, such as
    # Kata containers, give --api-sock PATH alone.
    Vmm(
        "firecracker",
        (Given(("id",)), Given(("api-sock",), option_values.path_name)),
        (Given(("id",)), Given(("api-sock",), option_values.path_name)),
    ),
    # `lkvm run --name NAME` (kvmtool, builtin-run.c). -n is --network there.
    Vmm("lkvm", (Given(("name",)),)),
    # Kata containers with the VMM inside the shim (Dragonball): -id is the sandbox's.
    Vmm("containerd-shim-kata", (Given(("id",)),)),
)
