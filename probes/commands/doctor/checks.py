"""From what was found to what it means: one line each, with the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from nvscope.probes.commands.doctor.facts import OF_EXPORTER, OF_INSTALLATION, OF_TRACES, Facts
from nvscope.probes.kernel import features
from nvscope.probes.kernel.features import ARCH, Host


class State(StrEnum):
    """ok; note: something to know, or only nice to have; lack: without it there are no metrics."""

    OK = "ok"
    NOTE = "note"
    LACK = "lack"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. value: what was found; remedy: "" where there is none to give.

    >>> Check("lockdown", "none").state
    <State.OK: 'ok'>
    """

    name: str
    value: str
    state: State = State.OK
    remedy: str = ""


def checks(facts: Facts) -> list[Check]:
    """All of them, in the order in which they are shown."""
    return [*_machine(facts.host), *_kvm(facts.host), *_tracing(facts), *_software(facts)]


def _machine(host: Host) -> Iterator[Check]:
    lacking = _lacking(host)
    yield Check("kernel", f"{host.kernel}, {host.arch}", *_told(lacking, "arch"))
    kind = f"{host.machine.kind} ({host.machine.sign})" if host.machine.sign else host.machine.kind
    if host.machine.kind == "emulated":
        yield Check("machine", kind, State.NOTE, "durations seen here are no performance figures")
    else:
        yield Check("machine", kind)


def _kvm(host: Host) -> Iterator[Check]:
    lacking = _lacking(host)
    if host.arch != ARCH:  # what follows is arm64's
        yield Check("KVM", "there is /dev/kvm" if host.kvm else "no /dev/kvm")
        return
    yield Check("KVM mode", host.kvm_mode, *_told(lacking, "kvm"))
    if host.nv2 is None:
        remedy = "run as root to know: /dev/kvm may not be opened"
        yield Check("FEAT_NV2", "not known", State.NOTE, remedy)
    elif host.kvm:
        yield Check("FEAT_NV2", "used" if host.nv2 else _unused(host), *_told(lacking, "nv2"))
    yield Check("reverse map", _revmap(host))


def _unused(host: Host) -> str:
    if host.kvm_asked == "nested":
        return "not there: the command line asks for it, and KVM offers none"
    return "not used"


def _revmap(host: Host) -> str:
    if host.revmap_off:
        return "none: turned off on the kernel's command line"
    if host.revmap == "none":
        return "none: each notifier unmap takes every shadow stage 2 whole"
    if host.revmap != "unknown":
        return host.revmap
    if not host.strange_members:
        return "not known, for want of BTF"
    members = ", ".join(host.strange_members)
    return f"not known: mainline's struct kvm_s2_mmu has no {members} (try --suggest)"


def _tracing(facts: Facts) -> Iterator[Check]:
    host, tracing = facts.host, facts.tracing
    lacking = _lacking(host)
    yield Check("BTF", "not readable" if host.btf_problem else "readable", *_told(lacking, "btf"))
    if host.arch == ARCH:
        yield _mechanism("fentry", tracing.fentry, "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")
        wanted = "CONFIG_KPROBES" if tracing.kprobes_armed else "/sys/kernel/debug/kprobes/enabled"
        yield _mechanism("kprobes", tracing.kprobes, wanted)
    if host.lockdown == "unknown":
        remedy = "mount -t securityfs securityfs /sys/kernel/security, to know"
        yield Check("lockdown", "not known", State.NOTE, remedy)
    else:
        yield Check("lockdown", host.lockdown, *_told(lacking, "lockdown"))
    held = ", ".join(sorted(host.capabilities)) or "no capability for BPF"
    rights = "root" if facts.root and features.may_trace(host) else held
    yield Check("rights", rights, *_told(lacking, "rights"))
    own = bool(facts.pid_namespace)
    state = State.LACK if own else State.OK
    yield Check(
        "PID namespace", "not the host's" if own else "the host's", state, facts.pid_namespace
    )


def _mechanism(name: str, there: bool | None, wanted: str) -> Check:
    if there is None:
        return Check(name, "not known", State.NOTE, "/proc/kallsyms must be readable to know")
    if there:
        return Check(name, "yes")
    return Check(
        name, "no", State.NOTE, f"the kernel needs {wanted}; one of fentry, kprobes will do"
    )


def _software(facts: Facts) -> Iterator[Check]:
    if facts.bcc_problem:
        yield Check("bcc", "not installed", State.LACK, facts.bcc_problem)
    else:
        found = facts.packages["bcc"] or "of unknown version"
        yield Check("bcc", f"{found}; it needs no kernel headers here")
    there = all(facts.packages[package] for package in OF_EXPORTER)
    state = State.NOTE if there else State.LACK
    exporter = (*OF_EXPORTER, *OF_INSTALLATION)
    yield _packages(facts, "exporter", exporter, state, "pip install nvscope")
    yield _packages(facts, "traces", OF_TRACES, State.NOTE, "pip install 'nvscope[trace]'")
    if facts.bpffs:
        yield Check("bpffs", "mounted")
    else:
        remedy = "not needed now; mount -t bpf bpf /sys/fs/bpf"
        yield Check("bpffs", "not mounted", State.NOTE, remedy)


def _packages(facts: Facts, name: str, packages: Iterable[str], state: State, remedy: str) -> Check:
    found = {package: facts.packages[package] for package in packages}
    value = ", ".join(f"{package} {version or 'missing'}" for package, version in found.items())
    return Check(name, value) if all(found.values()) else Check(name, value, state, remedy)


def _lacking(host: Host) -> dict[str, str]:
    """What stands in the way of the exporter, by its own words."""
    return {lack.what: lack.words for lack in features.lacks(host)}


def _told(lacking: dict[str, str], what: str) -> tuple[State, str]:
    words = lacking.get(what, "")
    return (State.LACK if words else State.OK, words)
