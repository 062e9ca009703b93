"""`Feature`: one thing a kernel may or may not do, found out by trying.

A probe makes or loads the smallest thing that needs the feature and reads the errno. Its answer is
yes or no; when it cannot tell (no privilege) it raises, and nothing is remembered. Answers are kept
per kernel seam, so that a fake kernel never answers for the real one, and per BPF token.
"""

from __future__ import annotations

import enum
import errno
from _weakref import ref  # weakref takes 1 ms
from collections.abc import Callable

from pyebpf.errors import EbpfError, NotSupportedError, PrivilegeError, SyscallError
from pyebpf.plain import plain
from pyebpf.sys import delegation, kernel

__all__ = ["Answer", "Feature", "Finding", "accepted", "errno_of"]

# Failures that have nothing to do with what was asked for.
_NO_ANSWER = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR})

_answers: dict[ref[object], dict[str, bool]] = {}


class Answer(enum.Enum):
    """What a probe found out."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"

    def __bool__(self) -> bool:
        """Raise: "cannot tell" is neither true nor false."""
        raise TypeError("compare an Answer with Answer.YES")


@plain(frozen=True, kw_only=True)
class Finding:
    """One line of a report.

    Attributes:
        answer: Yes, no, or cannot tell.
        since: The first release that has it, if that is all it takes.
        value: What was read, of settings and the configuration.
        reason: Why it cannot be told.
    """

    answer: Answer
    since: str | None = None
    value: str | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return it as texts by name, without what is not said: ready for JSON."""
        found = {"answer": self.answer.value, "since": self.since, "value": self.value}
        found["reason"] = self.reason or None
        return {name: text for name, text in found.items() if text is not None}


class Feature:
    """One thing a kernel may or may not do.

    Args:
        name: A short noun phrase for messages.
        since: The first release that has it, or ``None`` if that depends on configuration.
        probe: Tries it; raises `SyscallError` when it cannot tell.
    """

    def __init__(self, name: str, since: str | None, probe: Callable[[], bool]) -> None:
        self.name = name
        self.since = since
        self._probe = probe

    def available(self) -> bool:
        """Return whether the kernel has it.

        Raises:
            SyscallError: The kernel could not say, for want of a privilege or of memory.
        """
        asked: object = delegation.current() or kernel.current()
        known = _answers.setdefault(ref(asked, _forget), {})
        if self.name not in known:
            known[self.name] = self._probe()
        return known[self.name]

    def require(self) -> None:
        """Raise `NotSupportedError` unless the kernel has it."""
        if not self.available():
            raise NotSupportedError(self.name, self.since)

    def unsupported(self) -> NotSupportedError | None:
        """Return the error to raise, or ``None`` if the kernel has it or cannot tell.

        For explaining a failure that has happened already.
        """
        try:
            self.require()
        except NotSupportedError as error:
            return error
        except EbpfError:
            return None
        return None

    def finding(self) -> Finding:
        """Return the answer as data: never an error."""
        try:
            answer = Answer.YES if self.available() else Answer.NO
        except (EbpfError, NotImplementedError) as error:
            return Finding(answer=Answer.UNKNOWN, since=self.since, reason=str(error))
        return Finding(answer=answer, since=self.since)

    def __repr__(self) -> str:
        return f"Feature({self.name!r}, since={self.since!r})"


def _forget(asked: ref[object]) -> None:
    _answers.pop(asked, None)


def accepted(attempt: Callable[[], None]) -> bool:
    """Run a probe: whether the kernel knew what was asked for.

    ``EINVAL`` and ``E2BIG`` are a no; any other failure comes from further on, where something
    deliberately wrong was refused.

    Raises:
        PrivilegeError: It cannot tell.
        SyscallError: Neither can it: ``ENOMEM``, ``EMFILE``, …
    """
    return errno_of(attempt) not in (errno.EINVAL, errno.E2BIG)


def errno_of(attempt: Callable[[], None]) -> int:
    """Run a probe: with which errno it ended, 0 for success.

    Raises:
        PrivilegeError: The kernel did not come to look at it.
        SyscallError: Neither did it: ``ENOMEM``, ``EMFILE``, …
    """
    try:
        attempt()
    except PrivilegeError:
        raise
    except SyscallError as error:
        if error.errno in _NO_ANSWER:
            raise
        return error.errno or 0
    except NotSupportedError:  # the whole command
        return errno.EINVAL
    return 0
