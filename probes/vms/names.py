"""VM names and uuids out of a VMM's command line; text from other users' processes, made safe."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from nvscope.probes.vms import vmms

# Longest name in a label, in characters. libvirt's own limit for what it derives from a
# name is NAME_MAX (255 bytes); no one reads more than half of it in a legend.
NAME_LIMIT = 128


def clean(text: str, limit: int = NAME_LIMIT) -> str:
    """Return text with all that is not printable replaced by U+FFFD, cut to limit characters.

    Surrogates (bytes of a command line that are no UTF-8) go too: one in a label makes the
    whole exposition fail to encode. So do bidirectional and zero-width characters, with which
    one name can be made to look like another.

    >>> clean("web\\n1\\udcff")
    'web�1�'
    >>> clean("a" * 500) == "a" * 128
    True
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit])


def vm_name(cmdline: Sequence[str], command: str, file: str = "") -> str:
    """Return a VM's name, safe for a label and never empty.

    cmdline: the VMM's command line, of those in vmms.py; command: the process's own name, taken
    where the command line names no guest; file: what the process runs, "" where that is not known.

    >>> vm_name(["qemu-system-aarch64", "-name", "guest=db"], "qemu-system-aarch64")
    'db'
    >>> vm_name(["lkvm", "run"], "lkvm"), vm_name(["/firecracker", "--id", "web"], "firecracker")
    ('lkvm', 'web')
    """
    vmm = vmms.of(cmdline, command, file)
    given = clean(vmms.title(cmdline) or vmms.first(cmdline[1:], vmm.names)).strip()
    return given or clean(command).strip() or "unnamed"


def vm_uuid(cmdline: Sequence[str], command: str = "", file: str = "") -> str:
    """Return the uuid on a VMM's command line in its usual form, or "" if there is none.

    >>> vm_uuid(["qemu", "-uuid", "6F9619FF-8B86-D011-B42D-00C04FC964FF"])
    '6f9619ff-8b86-d011-b42d-00c04fc964ff'
    >>> vm_uuid(["qemu", "-uuid", "mine"])
    ''
    """
    try:
        vmm = vmms.of(cmdline, command, file)
        return str(uuid.UUID(vmms.first(cmdline[1:], vmm.uuids)))
    except ValueError:
        return ""


def distinct(name: str, pid: int, taken: frozenset[str] | set[str]) -> str:
    """Return name, or what follows from it that is not taken: name@pid, name@pid#2, …

    >>> distinct("db", 7, set()), distinct("db", 7, {"db"}), distinct("db", 7, {"db", "db@7"})
    ('db', 'db@7', 'db@7#2')
    """
    label, number = name, 1
    while label in taken:
        suffix = f"@{pid}" if number == 1 else f"@{pid}#{number}"
        label = name[: NAME_LIMIT - len(suffix)] + suffix
        number += 1
    return label
