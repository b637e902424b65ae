"""What ends a storm: any signal that would end a process, but SIGKILL."""

from __future__ import annotations

import signal

from nvscope.probes.commands import session

# signal(7): SIGKILL cannot be waited for, and these do not end a process.
_OTHERS = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
    signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH,
}  # fmt: skip


class Ends:
    """The signals that end us, from now on held back until they are asked for.

    Those that are ignored stay so: SIGHUP under nohup, SIGPIPE under Python (where an output that
    nobody reads any more is an error instead).
    """

    def __init__(self) -> None:
        ending = signal.valid_signals() - _OTHERS
        self._signals = {n for n in ending if signal.getsignal(n) is not signal.SIG_IGN}
        session.block(*self._signals)

    def came(self, seconds: float) -> bool:
        """Wait so long at most; whether one came."""
        return signal.sigtimedwait(self._signals, seconds) is not None
