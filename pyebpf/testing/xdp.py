"""XDP programs of interfaces, by link and by netlink: dev_xdp_attach.

An interface has one, run by its driver or by the generic path (``lo`` has no driver that can).
"""

from __future__ import annotations

import errno

from pyebpf.testing.attachments import Attachment, Hook
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.bpf import AttachType
from pyebpf.uapi.net import XdpFlag

__all__ = ["MODES", "attach", "detach", "hook_of"]

MODES = XdpFlag.SKB_MODE | XdpFlag.DRV_MODE | XdpFlag.HW_MODE
_ELSEWHERE = frozenset({AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP})


def hook_of(system: System, index: int) -> Hook:
    """Return the hook of an interface."""
    return system.hook(f"xdp/{index}/")


def attach(
    system: System,
    index: int,
    new: Attachment,
    *,
    by_link: bool,
    expected: ProgramObject | None = None,
) -> Hook:
    """Attach a program; its flags are ``XDP_FLAGS_*``, and then the mode it runs in.

    Raises:
        Refused: ``EBUSY``, ``EEXIST``, ``EINVAL``, ``EOPNOTSUPP``, with the kernel's reason.
    """
    hook, flags = hook_of(system, index), new.flags
    mode = _mode(system, index, flags)
    there = _there(hook, mode, flags, by_link=by_link, expected=expected)
    if there is None and hook.attachments:
        raise Refused(errno.EEXIST, "Native and generic XDP can't be active at the same time")
    if there is not None and flags & XdpFlag.UPDATE_IF_NOEXIST:
        raise Refused(errno.EBUSY, "XDP program already attached")
    if new.program.expected_attach_type in _ELSEWHERE:
        name = new.program.expected_attach_type
        raise Refused(errno.EINVAL, f"{name} programs can not be attached to a device")
    if mode == XdpFlag.HW_MODE:
        raise Refused(errno.EINVAL, "Incompatible offload")
    if mode == XdpFlag.DRV_MODE and _is_loopback(system, index):
        reason = "Underlying driver does not support XDP in native mode"
        raise Refused(errno.EOPNOTSUPP, reason)
    new.flags = int(mode)
    hook.clear()
    hook.put(new)
    return hook


def detach(system: System, index: int, flags: int, expected: ProgramObject | None = None) -> None:
    """Take off what was attached by netlink; errors as for `attach`."""
    hook = hook_of(system, index)
    there = _there(hook, _mode(system, index, flags), flags, by_link=False, expected=expected)
    if there is not None:
        hook.remove(there)


# What is attached in this mode, if that may be changed.
def _there(
    hook: Hook, mode: XdpFlag, flags: int, *, by_link: bool, expected: ProgramObject | None
) -> Attachment | None:
    there = next((each for each in hook.attachments if each.flags == mode), None)
    if there is not None and there.link_id:
        raise Refused(errno.EBUSY, "Can't replace active BPF XDP link")
    if there is not None and by_link:
        raise Refused(errno.EBUSY, "Can't replace active XDP program with BPF link")
    if flags & XdpFlag.REPLACE and (there.program if there is not None else None) is not expected:
        raise Refused(errno.EEXIST, "Active program does not match expected")
    return there


def _mode(system: System, index: int, flags: int) -> XdpFlag:
    asked = XdpFlag(flags & int(MODES))
    if int(asked).bit_count() > 1:
        raise Refused(errno.EINVAL)
    if asked:
        return asked
    return XdpFlag.SKB_MODE if _is_loopback(system, index) else XdpFlag.DRV_MODE


def _is_loopback(system: System, index: int) -> bool:
    return system.interfaces.get("lo") == index
