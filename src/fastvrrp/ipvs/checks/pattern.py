"""regex of a url: PCRE2 as keepalived uses it, over a page that arrives in pieces.

A binding of the few functions of libpcre2-8 that are needed (pcre2api(3), pcre2partial(3)); it is
loaded when the first pattern is compiled. A page is never kept whole: what cannot be part of a
match any more is dropped, and a match longer than WINDOW_BYTES counts as an error.
"""

from __future__ import annotations

import ctypes
from typing import Any

from fastvrrp.config.servers import Regex

WINDOW_BYTES = 256 * 1024
HEAP_KIB_MAX = 64 * 1024  # of the matcher, which may be patient but not greedy

# pcre2.h
OPTIONS = {
    "allow_empty_class": 0x00000001,
    "alt_bsux": 0x00000002,
    "auto_callout": 0x00000004,
    "caseless": 0x00000008,
    "dollar_endonly": 0x00000010,
    "dotall": 0x00000020,
    "dupnames": 0x00000040,
    "extended": 0x00000080,
    "firstline": 0x00000100,
    "match_unset_backref": 0x00000200,
    "multiline": 0x00000400,
    "never_ucp": 0x00000800,
    "never_utf": 0x00001000,
    "no_auto_capture": 0x00002000,
    "no_auto_possess": 0x00004000,
    "no_dotstar_anchor": 0x00008000,
    "no_start_optimize": 0x00010000,
    "ucp": 0x00020000,
    "ungreedy": 0x00040000,
    "utf": 0x00080000,
    "never_backslash_c": 0x00100000,
    "alt_circumflex": 0x00200000,
    "alt_verbnames": 0x00400000,
    "use_offset_limit": 0x00800000,
}
_MATCH_INVALID_UTF = 0x04000000  # what is no UTF-8 matches nothing, and is no error
_PARTIAL_HARD = 0x00000020
_NO_JIT = 0x00002000
_JIT_COMPLETE = 1
_JIT_PARTIAL_HARD = 4
_NOMATCH = -1
_PARTIAL = -2
_JIT_STACKLIMIT = -46
_INFO_ALLOPTIONS = 0
_INFO_MAXLOOKBEHIND = 15

_library: ctypes.CDLL | None = None


class PatternError(ValueError):
    """A pattern that cannot be compiled."""


class NoLibraryError(PatternError):
    """There is no libpcre2-8 on this host."""


class Pattern:
    """A compiled regex; may be searched for in any number of pages, one after the other.

    Raises PatternError.
    """

    def __init__(self, regex: Regex) -> None:
        pcre = self._pcre = _load()
        options = 0
        for word in regex.options:
            if word not in OPTIONS:
                raise PatternError(f"unknown regex option {word}")
            options |= OPTIONS[word]
        if options & OPTIONS["utf"]:
            options |= _MATCH_INVALID_UTF
        text = regex.pattern.encode("utf-8", "surrogateescape")
        code, offset = ctypes.c_int(), ctypes.c_size_t()
        self._code = pcre.pcre2_compile_8(
            text, len(text), options, ctypes.byref(code), ctypes.byref(offset), None
        )
        if not self._code:
            raise PatternError(f"{_message(pcre, code.value)} at offset {offset.value}")
        self._match_data = pcre.pcre2_match_data_create_8(1, None)
        self._context = pcre.pcre2_match_context_create_8(None)
        self._stack: int | None = None
        if not self._match_data or not self._context:
            raise MemoryError("pcre2")
        pcre.pcre2_set_heap_limit_8(self._context, HEAP_KIB_MAX)
        # without a just-in-time compiler the interpreter does it
        pcre.pcre2_jit_compile_8(self._code, _JIT_COMPLETE | _JIT_PARTIAL_HARD)
        if regex.stack is not None:
            self._stack = pcre.pcre2_jit_stack_create_8(*regex.stack, None)
            if self._stack:
                pcre.pcre2_jit_stack_assign_8(self._context, None, self._stack)
        self._ovector = pcre.pcre2_get_ovector_pointer_8(self._match_data)
        self.no_match = regex.no_match
        self.min_offset = regex.min_offset
        self.max_offset = regex.max_offset
        all_options = self._info(_INFO_ALLOPTIONS)
        self.utf = bool(all_options & OPTIONS["utf"])
        self.first_line = bool(all_options & OPTIONS["firstline"])
        # at least one byte stays before a later window, so that it does not look like the start
        self.lookbehind = max(1, self._info(_INFO_MAXLOOKBEHIND)) * (4 if self.utf else 1)

    def __del__(self) -> None:
        pcre = getattr(self, "_pcre", None)
        if pcre is None:
            return
        if getattr(self, "_stack", None):
            pcre.pcre2_jit_stack_free_8(self._stack)
        if getattr(self, "_context", None):
            pcre.pcre2_match_context_free_8(self._context)
        if getattr(self, "_match_data", None):
            pcre.pcre2_match_data_free_8(self._match_data)
        if getattr(self, "_code", None):
            pcre.pcre2_code_free_8(self._code)

    def _info(self, what: int) -> int:
        value = ctypes.c_uint32()
        self._pcre.pcre2_pattern_info_8(self._code, what, ctypes.byref(value))
        return value.value

    def match(self, subject: bytearray, length: int, start: int, *, partial: bool) -> int:
        """pcre2_match() of subject[:length] from `start`; 0 or more is a match."""
        options = _PARTIAL_HARD if partial else 0
        pointer: Any = ctypes.byref(ctypes.c_char.from_buffer(subject)) if subject else b""
        arguments = (self._code, pointer, length, start)
        code = self._pcre.pcre2_match_8(*arguments, options, self._match_data, self._context)
        if code == _JIT_STACKLIMIT:
            # the interpreter needs no such stack
            options |= _NO_JIT
            code = self._pcre.pcre2_match_8(*arguments, options, self._match_data, self._context)
        return int(code)

    @property
    def matched_at(self) -> int:
        """Where the last match, or partial match, starts."""
        return int(self._ovector[0])

    def explain(self, code: int) -> str:
        """An error code of `match` in words."""
        return _message(self._pcre, code)


class Search:
    """One page: `feed` its bytes in order, then `finish`."""

    def __init__(self, pattern: Pattern, window_bytes: int = WINDOW_BYTES) -> None:
        self._pattern = pattern
        self._limit = window_bytes
        self._window = bytearray()
        self._base = 0  # offset of the window in the page
        self._start = pattern.min_offset  # no match starts before it; an offset in the window
        self.found = False
        self.error = ""
        self._over = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """More of the page."""
        view = memoryview(data)
        while view and not self._over:
            room = self._limit - len(self._window)
            self._window += view[:room]
            view = view[room:]
            if len(self._window) == self._limit:
                self._scan(last=self._pattern.first_line)

    def finish(self) -> None:
        """The page is complete: `found` and `error` are final."""
        if not self._over:
            self._scan(last=True)

    def _end(self) -> None:
        self._over = True
        self._window = bytearray()

    def _scan(self, *, last: bool) -> None:
        """Search the window, and drop what no match can need any more."""
        pattern, window = self._pattern, self._window
        length = len(window)
        if pattern.utf and not last:
            length -= _incomplete(window)
        if pattern.utf:
            # min_offset counts bytes: it may be inside a character
            while self._start < length and window[self._start] & 0xC0 == 0x80:
                self._start += 1
        if self._start > length:
            code = _NOMATCH
        else:
            code = pattern.match(window, length, self._start, partial=not last)
        if code >= 0:
            at = self._base + pattern.matched_at
            self.found = pattern.max_offset is None or at <= pattern.max_offset
            self._end()
        elif code == _NOMATCH:
            self._drop(length)
        elif code == _PARTIAL:
            self._drop(pattern.matched_at)
            if len(self._window) == self._limit:
                self.error = f"a match would be longer than {self._limit} bytes"
                self._end()
        else:
            self.error = pattern.explain(code)
            self._end()
        passed = self._base + self._start
        if last or (pattern.max_offset is not None and passed > pattern.max_offset):
            self._end()

    def _drop(self, start: int) -> None:
        """No match starts before `start`: keep what lookbehind may want of it."""
        gone = max(0, start - self._pattern.lookbehind)
        if self._pattern.utf:
            while gone and gone < len(self._window) and self._window[gone] & 0xC0 == 0x80:
                gone -= 1
        del self._window[:gone]
        self._base += gone
        self._start = max(start, self._start) - gone


def _incomplete(window: bytearray) -> int:
    """Bytes of an unfinished UTF-8 character at the end."""
    for back in range(1, min(4, len(window) + 1)):
        byte = window[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if length > back else 0
    return 0


def _message(pcre: ctypes.CDLL, code: int) -> str:
    buffer = ctypes.create_string_buffer(256)
    pcre.pcre2_get_error_message_8(code, buffer, len(buffer))
    return buffer.value.decode("ascii", "replace")


def _load() -> ctypes.CDLL:
    global _library
    if _library is not None:
        return _library
    try:
        pcre = ctypes.CDLL("libpcre2-8.so.0")
    except OSError as e:
        raise NoLibraryError(f"regex needs libpcre2-8: {e}") from e
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    pcre.pcre2_compile_8.restype = pointer
    pcre.pcre2_compile_8.argtypes = [
        ctypes.c_char_p,
        size,
        ctypes.c_uint32,
        pointer,
        pointer,
        pointer,
    ]
    pcre.pcre2_match_8.restype = ctypes.c_int
    pcre.pcre2_match_8.argtypes = [
        pointer,
        pointer,
        size,
        size,
        ctypes.c_uint32,
        pointer,
        pointer,
    ]
    for name, result, arguments in (
        ("code_free", None, [pointer]),
        ("match_data_create", pointer, [ctypes.c_uint32, pointer]),
        ("match_data_free", None, [pointer]),
        ("match_context_create", pointer, [pointer]),
        ("match_context_free", None, [pointer]),
        ("set_heap_limit", ctypes.c_int, [pointer, ctypes.c_uint32]),
        ("jit_compile", ctypes.c_int, [pointer, ctypes.c_uint32]),
        ("jit_stack_create", pointer, [size, size, pointer]),
        ("jit_stack_assign", None, [pointer, pointer, pointer]),
        ("jit_stack_free", None, [pointer]),
        ("get_ovector_pointer", ctypes.POINTER(size), [pointer]),
        ("pattern_info", ctypes.c_int, [pointer, ctypes.c_uint32, pointer]),
        ("get_error_message", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, size]),
    ):
        function = getattr(pcre, f"pcre2_{name}_8")
        function.restype = result
        function.argtypes = arguments
    _library = pcre
    return pcre
