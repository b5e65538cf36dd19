"""Read a pickled list of names (CFS_list.pkl, keys.pkl) without unpickling it.

A pickle is a program, and Python's unpickler runs it: a file from a stranger can do anything. Here
a small reader knows the opcodes that a list of str or bytes consists of, and refuses all others, so
that nothing else can be made, called or imported. It yields names as it goes: 4.2 million of them
need no memory to speak of.
"""

from __future__ import annotations

import ast
import pickletools
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO

from reid_common.errors import UserError

MAX_NAME = 65_535  # bytes; the longest path that Linux knows has 4,096

# Opcode -> bytes of the length in front of the name.
_NAMES = {
    b"\x8c": 1,  # SHORT_BINUNICODE
    b"X": 4,  # BINUNICODE
    b"\x8d": 8,  # BINUNICODE8
    b"C": 1,  # SHORT_BINBYTES
    b"B": 4,  # BINBYTES
    b"\x8e": 8,  # BINBYTES8
    b"U": 1,  # SHORT_BINSTRING, Python 2's str
    b"T": 4,  # BINSTRING
}
# Opcodes that say nothing about the list's content -> bytes that follow.
_SKIPPED = {b"\x80": 1, b"\x95": 8, b"(": 0, b"a": 0, b"e": 0}  # PROTO, FRAME, MARK, APPEND(S)
_PUTS = {b"q": 1, b"r": 4}  # BINPUT, LONG_BINPUT
_GETS = {b"h": 1, b"j": 4}  # BINGET, LONG_BINGET
_TEXT: dict[bytes, Callable[[bytes], str | bytes]] = {  # of protocol 0
    b"V": lambda line: line.decode("raw-unicode-escape"),
    b"S": lambda line: ast.literal_eval(line.decode("ascii")),
}


def read_pickled_names(path: str) -> Iterator[bytes]:
    """Yield the names of a pickled list, in UTF-8.

    Args:
        path: file of any pickle protocol that holds one list of str or bytes.

    Raises:
        UserError: it holds anything else, or is cut off.
    """
    with open(path, "rb") as file:
        yield from _Reader(file, path).names()


class _Reader:
    """The state of reading one file."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.in_list = False
        # What a pickle calls memo: where in the file each name is, -1 for the list itself.
        self.memo = array("q")

    def names(self) -> Iterator[bytes]:
        read = self.file.read
        last = -1  # where the opcode of the last object begins
        while (code := read(1)) != b".":
            if code in _NAMES or code in _TEXT:
                last = self.file.tell() - 1
                yield self.name(code)
            elif code == b"\x94":  # MEMOIZE
                self.memo.append(last)
            elif code in _SKIPPED:
                read(_SKIPPED[code])
            elif code in _PUTS:
                self.put(self.number(_PUTS[code]), last)
            elif code in _GETS:
                yield self.again(self.number(_GETS[code]))
            elif code in (b"]", b"l"):  # EMPTY_LIST; LIST of protocol 0
                if self.in_list:
                    raise self.refused("a list within the list")
                self.in_list, last = True, -1
            elif code == b"p":
                self.put(self.line_number(), last)
            elif code == b"g":
                yield self.again(self.line_number())
            else:
                raise self.refused(_opcode_name(code))
        if not self.in_list:
            raise self.refused("something that is no list")

    def name(self, code: bytes) -> bytes:
        """Name behind its opcode."""
        if not self.in_list:
            raise self.refused("a name outside of a list")
        if code in _TEXT:
            line = self.line()
            try:
                text = _TEXT[code](line)
            except (ValueError, SyntaxError) as error:
                raise self.refused("a malformed string") from error
            if isinstance(text, bytes):
                return text
            return text.encode("utf-8", "surrogateescape")
        size = self.number(_NAMES[code])
        if size > MAX_NAME:
            raise self.refused(f"a name of {size} bytes")
        name = self.file.read(size)
        if len(name) < size:
            raise self.cut_off()
        return name

    def again(self, number: int) -> bytes:
        """Name that stood in the list before."""
        if number >= len(self.memo) or self.memo[number] < 0:
            raise self.refused("the list within itself")
        here = self.file.tell()
        self.file.seek(self.memo[number])
        name = self.name(self.file.read(1))
        self.file.seek(here)
        return name

    def put(self, number: int, place: int) -> None:
        if number != len(self.memo):
            raise self.refused("objects in an unusual order")
        self.memo.append(place)

    def number(self, size: int) -> int:
        raw = self.file.read(size)
        if len(raw) < size:
            raise self.cut_off()
        return int.from_bytes(raw, "little")

    def line(self) -> bytes:
        line = self.file.readline(4 * MAX_NAME)
        if not line.endswith(b"\n"):
            raise self.cut_off()
        return line[:-1]

    def line_number(self) -> int:
        line = self.line()
        if not line.isdigit():
            raise self.refused("a malformed number")
        return int(line)

    def cut_off(self) -> UserError:
        return UserError(f"{self.path!r} is cut off; copy or download it again")

    def refused(self, what: str) -> UserError:
        if what == "":
            return self.cut_off()
        return UserError(
            f"{self.path!r} is no pickled list of names: it holds {what}. Only lists of str or "
            "bytes are read, since any other pickle could run code; write the names to a text "
            "file, one a line"
        )


def _opcode_name(code: bytes) -> str:
    """What to call a refused opcode; "" at the end of the file."""
    if not code:
        return ""
    known = pickletools.code2op  # type: ignore[attr-defined]
    operation = known.get(code.decode("latin-1"))
    return f"the pickle operation {operation.name}" if operation else f"the byte {code!r}"
