"""VM names and uuids out of a VMM's command line; text from other users' processes, made safe."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

# Longest name in a label, in characters. libvirt's own limit for what it derives from a
# name is NAME_MAX (255 bytes); no one reads more than half of it in a legend.
NAME_LIMIT = 128

# The keys of QEMU's -name (system/vl.c, qemu_name_opts). The first field is guest= by default.
_QEMU_NAME_KEYS = frozenset({"guest", "process", "debug-threads"})


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


def option(arguments: Sequence[str], name: str) -> str | None:
    """Return the value of the last `-name V`, `--name V`, `-name=V` or `--name=V`, or None.

    arguments: a command line without its first word.

    >>> option(["-m", "4096", "-uuid", "1", "--uuid=2"], "uuid")
    '2'
    """
    value = None
    words = iter(arguments)
    for word in words:
        key, equals, rest = word.partition("=")
        if key in (f"-{name}", f"--{name}"):
            value = rest if equals else next(words, value)
    return value


def guest_name(value: str) -> str:
    """Return the guest's name in the value of a VMM's -name ("" if it gives none).

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


def vm_name(cmdline: Sequence[str], command: str) -> str:
    """Return a VM's name, safe for a label and never empty.

    cmdline: the VMM's command line; command: the process's own name, taken where the command
    line names no guest.

    >>> vm_name(["qemu-system-aarch64", "-name", "guest=db"], "qemu-system-aarch64")
    'db'
    >>> vm_name(["lkvm", "run"], "lkvm")
    'lkvm'
    """
    given = clean(guest_name(option(cmdline[1:], "name") or "")).strip()
    return given or clean(command).strip() or "unnamed"


def vm_uuid(cmdline: Sequence[str]) -> str:
    """Return the uuid on a VMM's command line in its usual form, or "" if there is none.

    >>> vm_uuid(["qemu", "-uuid", "6F9619FF-8B86-D011-B42D-00C04FC964FF"])
    '6f9619ff-8b86-d011-b42d-00c04fc964ff'
    >>> vm_uuid(["qemu", "-uuid", "mine"])
    ''
    """
    try:
        return str(uuid.UUID(option(cmdline[1:], "uuid") or ""))
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
