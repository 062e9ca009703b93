"""The plan of a load's implementations of kernel interfaces; `pyebpf.loader.struct_ops` makes it.

Most loads have none, and an empty one.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.plain import field, plain
from pyebpf.spec import MapSpec
from pyebpf.typed import Protocol

__all__ = ["Fitted", "ModuleTypes", "Plan", "Target"]


class ModuleTypes(Protocol):
    """The types of a module, and a descriptor that stands for them."""

    @property
    def types(self) -> Btf:  # noqa: D102 - the class says it
        ...

    def fileno(self) -> int:  # noqa: D102 - the class says it
        ...


@plain(frozen=True, kw_only=True)
class Target:
    """What a program implements.

    Attributes:
        type_id: The interface's struct in the kernel's types: ``attach_btf_id``.
        member: The member's number in it: ``expected_attach_type``.
        module: Whose types these are, or ``None`` for the kernel's.
        name: ``"tcp_congestion_ops.init"``, for messages.
    """

    type_id: int
    member: int
    module: ModuleTypes | None
    name: str


@plain(kw_only=True)
class Fitted:
    """An implementation as the kernel wants it.

    Attributes:
        spec: The map to create, its sizes, types and contents those of the kernel.
        functions: Places in the contents and the programs whose descriptors go there.
        module: Whose types the spec's are, or ``None`` for the kernel's.
    """

    spec: MapSpec
    functions: tuple[tuple[int, str], ...] = ()
    module: ModuleTypes | None = None


@plain(kw_only=True)
class Plan:
    """All implementations of a load.

    Attributes:
        maps: Those to create, by name.
        targets: The programs they need and what each implements, by name.
    """

    maps: dict[str, Fitted] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
