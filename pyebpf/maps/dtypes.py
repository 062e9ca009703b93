"""Bytes of many keys and values as numpy arrays, by their codecs.

codec ──▶ dtype        BTF type: structured as the struct; IndexCodec: u4; "I": u4, "<IQ": f0, f1
numpy dtype: itself; ctypes: what numpy makes of it; bytes: V
"""

from __future__ import annotations

import struct

from pyebpf.btf.btf import Btf
from pyebpf.btf.codec import Codec as BtfCodec
from pyebpf.btf.columns import columns
from pyebpf.maps.codec import BytesCodec, Codec, IndexCodec, PerCpuCodec
from pyebpf.maps.objects import FdCodec, OwnerCodec
from pyebpf.maps.user_codec import CtypesCodec, DtypeCodec, StructCodec
from pyebpf.typed import Any

__all__ = ["array", "dtype_of", "format_dtype"]


def dtype_of(codec: Codec, btf: Btf | None) -> Any:  # noqa: ANN401  numpy is imported late
    """Return the numpy dtype of what a codec stands for.

    Args:
        codec: Of keys, or of one CPU's values.
        btf: The map's types.

    Raises:
        TypeError: None is known: a pair of functions, addresses, …
    """
    import numpy as np

    if isinstance(codec, DtypeCodec):
        return codec.dtype
    if isinstance(codec, CtypesCodec):
        return np.dtype(codec.kind)
    if isinstance(codec, BtfCodec) and btf is not None and codec.type_id:
        described: Any = columns(btf, codec.type_id)
        return np.dtype(described)
    if isinstance(codec, StructCodec):
        return format_dtype(codec.text)
    if isinstance(codec, (IndexCodec, FdCodec, OwnerCodec)):
        return np.dtype(f"u{codec.size}")
    if isinstance(codec, BytesCodec):
        return np.dtype(f"V{codec.size}")
    raise TypeError(f"no numpy dtype is known for {type(codec).__name__}")


def array(codec: Codec, data: bytearray, btf: Btf | None) -> Any:  # noqa: ANN401
    """Return the array of values whose bytes stand one after another.

    Args:
        codec: Of keys, or of values as the map has them.
        data: The bytes; the array is a view of them.
        btf: The map's types.

    Raises:
        TypeError: As for `dtype_of`.
    """
    import numpy as np

    if not isinstance(codec, PerCpuCodec):
        return np.frombuffer(data, dtype_of(codec, btf))
    one = dtype_of(codec.inner, btf)
    padded = np.dtype(
        {"names": ["value"], "formats": [one], "offsets": [0], "itemsize": codec.stride}
    )
    return np.frombuffer(data, padded)["value"].reshape(-1, codec.cpus)


def format_dtype(text: str) -> Any:  # noqa: ANN401
    """Return the numpy dtype of a struct format: that of its item, or with fields f0, f1 and so on.

    Args:
        text: As for `struct.Struct`.
    """
    import numpy as np

    # The items are at the places that struct gives them: found by packing each alone.
    prefix = text[0] if text[0] in "@=<>!" else "@"
    order = {"<": "<", ">": ">", "!": ">"}.get(prefix, "=")
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    before = prefix
    for count, code in _codes(text.lstrip("@=<>!")):
        offset = struct.calcsize(before + f"0{code}")
        before += f"{count}{code}"
        if code == "x":
            continue
        repeat = 1 if code in "sp" else count
        for index in range(repeat):
            size = struct.calcsize(prefix + (f"{count}s" if code in "sp" else code))
            names.append(f"f{len(names)}")
            formats.append(_FORMATS.get(code, "") or f"V{size}")
            formats[-1] = formats[-1] if formats[-1][0] == "V" else f"{order}{formats[-1]}{size}"
            offsets.append(offset + index * size)
    if len(names) == 1 and struct.calcsize(text) == np.dtype(formats[0]).itemsize:
        return np.dtype(formats[0])
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": struct.calcsize(text)}
    )


_FORMATS = {
    **dict.fromkeys("bhilqn", "i"),
    **dict.fromkeys("BHILQNP", "u"),
    **dict.fromkeys("efd", "f"),
    "?": "b",
    "c": "S",
}


def _codes(text: str) -> list[tuple[int, str]]:
    codes, digits = [], ""
    for character in text:
        if character.isdigit():
            digits += character
        elif not character.isspace():
            codes.append((int(digits or 1), character))
            digits = ""
    return codes
