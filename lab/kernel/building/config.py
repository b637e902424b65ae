"""A kernel's settings: what fragments ask for, and what a configuration has of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nvscope.lab.kernel import tools
from nvscope.probes.errors import InputError, LackError

# Without these no lab boots, can be reached, or has anything to show.
REQUIRED = (
    "CONFIG_SERIAL_AMBA_PL011_CONSOLE", "CONFIG_PCI_HOST_GENERIC", "CONFIG_VIRTIO_PCI",
    "CONFIG_VIRTIO_BLK", "CONFIG_VIRTIO_NET", "CONFIG_EXT4_FS", "CONFIG_9P_FS",
    "CONFIG_NET_9P_VIRTIO", "CONFIG_DEVTMPFS", "CONFIG_TMPFS", "CONFIG_PROC_FS", "CONFIG_SYSFS",
    "CONFIG_BINFMT_ELF", "CONFIG_BINFMT_SCRIPT", "CONFIG_MULTIUSER", "CONFIG_UNIX", "CONFIG_INET",
    "CONFIG_UNIX98_PTYS", "CONFIG_FUTEX", "CONFIG_EPOLL", "CONFIG_KVM", "CONFIG_BPF_SYSCALL",
    "CONFIG_DEBUG_INFO_BTF", "CONFIG_DEBUG_FS",
)  # fmt: skip

_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")

Settings = dict[str, str]


def settings(text: str) -> Settings:
    """Name -> value of all settings in a text; the last one of a name counts.

    >>> settings("# net\\nCONFIG_NET=y\\n# CONFIG_KSM is not set\\nCONFIG_NET=m\\n")
    {'CONFIG_NET': 'm', 'CONFIG_KSM': 'n'}
    """
    found = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line.strip()):
            found[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line.strip()):
            found[match[1]] = "n"
    return found


def dropped(wanted: Settings, config: Settings) -> list[str]:
    """The settings that a configuration does not have; one that is not there is off.

    >>> dropped({"CONFIG_NET": "y", "CONFIG_TUN": "y", "CONFIG_KSM": "n"}, {"CONFIG_NET": "y"})
    ['CONFIG_TUN=y']
    """
    return [f"{name}={value}" for name, value in wanted.items() if config.get(name, "n") != value]


def lacking(config: Settings) -> list[str]:
    """What a lab cannot do without, and is off.

    >>> lacking(dict.fromkeys(REQUIRED[1:], "y"))
    ['CONFIG_SERIAL_AMBA_PL011_CONSOLE']
    """
    return [name for name in REQUIRED if config.get(name) != "y"]


def read(path: Path) -> str:
    """A user's fragment. Raises InputError where a line is no setting, or asks for a module."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{path} cannot be read: {reason}") from None
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        match = _SET.fullmatch(line)
        if line and not line.startswith("#") and not match:
            raise InputError(f"{path}, line {number}: {line!r} is no setting (CONFIG_NAME=y)")
        if match and match[2] == "m":
            raise InputError(f"{path}, line {number}: {line} (the lab builds no modules: say =y)")
    return text if text.endswith("\n") else f"{text}\n"


def configure(
    make: Sequence[str], objects: Path, ours: str, configs: Sequence[Path], strict: bool
) -> list[str]:
    """Make the configuration: ours, and then the users' fragments. What of ours it drops.

    make: the command line, whose objects go there; strict: to drop one of ours is an error. Raises
    InputError where one of a user's is dropped, LackError where what a lab needs is.
    """
    theirs = {path: read(path) for path in configs}
    wanted = objects / "fragment"
    wanted.write_text("".join([ours, *theirs.values()]))
    tools.run([*make, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], objects, "the configuration")
    config = settings((objects / ".config").read_text())
    return checked(settings(ours), {k: settings(v) for k, v in theirs.items()}, config, strict)


def checked(
    ours: Settings, theirs: Mapping[Path, Settings], config: Settings, strict: bool
) -> list[str]:
    """What of ours a configuration drops; raises as `configure` does."""
    asked = {name: value for each in theirs.values() for name, value in each.items()}
    files = " and ".join(map(str, theirs))
    if gone := dropped(asked, config):
        raise InputError(f"this source drops settings of {files}: {', '.join(gone)}")
    gone = dropped({k: v for k, v in ours.items() if k not in asked}, config)
    if gone and strict:
        raise LackError(f"this source silently drops settings of ours: {', '.join(gone)}")
    if needed := ", ".join(lacking(config)):
        raise LackError(f"the lab cannot work without {needed}, which this kernel does not have")
    return gone
