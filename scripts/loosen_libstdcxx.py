"""Let a compiled extension that asks for GLIBCXX_3.4.32 load beside an older libstdc++.

Run with the Python of the environment: `python scripts/loosen_libstdcxx.py vllm/_C.abi3.so` (paths are looked
up on `sys.path`). Standard library only: no compiler, no patchelf.

GCC 13 puts an undefined symbol, `_ZSt21ios_base_library_initv`, into everything that includes <iostream>. No
relocation refers to it and nothing calls it: it only makes the loader insist on a libstdc++ that initialises
the iostreams by itself. With an older one libtorch, which such an extension needs and which is therefore
initialised before it, does that. So where this symbol is all that is wanted of GLIBCXX_3.4.32 that version
may be optional, which is one flag (VER_FLG_WEAK) in the ELF table of needed versions.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
from pathlib import Path

VERSION = b"GLIBCXX_3.4.32"
MARKER = b"_ZSt21ios_base_library_initv"
SHT_DYNSYM, SHT_GNU_VERNEED, SHT_GNU_VERSYM = 11, 0x6FFFFFFE, 0x6FFFFFFF
VER_FLG_WEAK = 2


def _sections(elf: bytes) -> list[tuple[int, int, int, int, int]]:
    """(type, offset, size, link, info) of every section of a little-endian 64-bit ELF file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry_size, count = struct.unpack_from("<HH", elf, 0x3A)
    headers = (struct.unpack_from("<IIQQQQII", elf, table + i * entry_size) for i in range(count))
    return [(kind, offset, size, link, info) for _, kind, _, _, offset, size, link, info in headers]


def _string(elf: bytes, start: int) -> bytes:
    return elf[start : elf.index(b"\0", start)]


def loosen(elf: bytes) -> bytes:
    """`elf` with VERSION made optional; unchanged if it is not needed. ValueError if more than MARKER is."""
    sections = _sections(elf)
    by_kind = {kind: (offset, size, link, info) for kind, offset, size, link, info in sections}
    if SHT_GNU_VERNEED not in by_kind:
        return elf
    need, _, link, count = by_kind[SHT_GNU_VERNEED]
    strings = sections[link][1]
    for _ in range(count):
        _, entries, _, first, following = struct.unpack_from("<HHIII", elf, need)
        entry = need + first
        for _ in range(entries):
            _, flags, index, name, step = struct.unpack_from("<IHHII", elf, entry)
            if _string(elf, strings + name) == VERSION:
                wanted = _symbols_of_version(elf, by_kind, strings, index)
                if wanted != [MARKER]:
                    raise ValueError(f"it needs more of {VERSION.decode()}: {wanted}")
                return elf[: entry + 4] + struct.pack("<H", flags | VER_FLG_WEAK) + elf[entry + 6 :]
            entry += step
        need += following
    return elf


def _symbols_of_version(elf: bytes, by_kind: dict, strings: int, index: int) -> list[bytes]:
    symbols, size, _, _ = by_kind[SHT_DYNSYM]
    versions = by_kind[SHT_GNU_VERSYM][0]
    names = []
    for i in range(size // 24):
        if struct.unpack_from("<H", elf, versions + 2 * i)[0] & 0x7FFF == index:
            names.append(_string(elf, strings + struct.unpack_from("<I", elf, symbols + 24 * i)[0]))
    return names


def main() -> int:
    for name in sys.argv[1:]:
        path = next((Path(entry, name) for entry in sys.path if Path(entry, name).is_file()), None)
        if path is None:
            print(f"{name}: not found on sys.path", file=sys.stderr)
            return 2
        try:
            loosened = loosen(path.read_bytes())
        except ValueError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        # Written under another name and renamed: an installer may have hard-linked the file from its cache.
        tmp_path = path.with_suffix(".new")
        tmp_path.write_bytes(loosened)
        shutil.copymode(path, tmp_path)
        os.replace(tmp_path, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
