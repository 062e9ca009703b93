"""RLIMIT_MEMLOCK, to which kernels before 5.11 charged maps, programs and BTF.

In: nothing; out: whether there is more room now, so that what failed with EPERM is worth a retry.
"""

from __future__ import annotations

import resource

__all__ = ["raise_limit"]


def raise_limit() -> bool:
    """Raise the process's limit of locked memory as far as it may be raised.

    To infinity if that is allowed, else the soft limit to the hard one. A refusal is no error:
    since Linux 5.11 (commit 3ac1f01b43b6) the limit does not matter to maps and programs.

    Returns:
        Whether the soft limit is higher than before.
    """
    limit = resource.RLIMIT_MEMLOCK
    soft, hard = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY:
        return False
    for wanted in (resource.RLIM_INFINITY, hard):
        if wanted == soft:
            continue
        try:
            # Needs CAP_SYS_RESOURCE where it is more than the hard limit.
            resource.setrlimit(limit, (wanted, max(wanted, hard) if wanted != -1 else wanted))
        except (ValueError, OSError):
            continue
        return True
    return False
