"""regex of a url: PCRE2 as keepalived uses it, over a page that arrives in pieces.

A binding of the few functions of libpcre2-8 that are needed (pcre2api(3), pcre2partial(3)); it is
loaded when the first pattern is compiled. A page is never kept whole: what cannot be part of a
match any more is dropped, and a match longer than WINDOW_BYTES counts as an error.

A pattern may need time without end for some page, and whoever sends the page can know that. The
just-in-time matcher of PCRE2 hardly counts what it does, so patterns are interpreted, in calls of a
limited number of steps, until BURST_NS of processor time are over. A step can be a look at all the
rest of the page, so the calls are small ones, and become larger as far as they prove to be quick.
A long page that takes its time earns more with each of its windows, up to PAGE_NS.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable
from typing import Any

from fastvrrp.config.servers import Regex

WINDOW_BYTES = 256 * 1024
HEAP_KIB_MAX = 64 * 1024  # of the matcher, for one call
CALL_STEPS = 1_000_000  # of the matcher, in one call, at most
PLACE_STEPS = 100  # for each place at which a match may begin, at first
PLACES = 8  # in one call, at first
PLACES_MAX = 256
QUICK_NS = 2_000_000  # a call that took less may be followed by a larger one
BURST_NS = 200_000_000  # of processor time, before other checks have their turn
WINDOW_NS = 60_000_000  # of it is earned by each further window
PAGE_NS = 2_000_000_000  # for all of one page

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
_NOMATCH = -1
_PARTIAL = -2
_MATCHLIMIT = -47
_INFO_ALLOPTIONS = 0
_INFO_MAXLOOKBEHIND = 15

# What depends on where a call begins, or has a say in where the next attempt does.
_UNDIVIDED = re.compile(r"\\G|\(\*(?:COMMIT|SKIP)")

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
        options = OPTIONS["use_offset_limit"]
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
        self._context = pcre.pcre2_match_context_create_8(None)
        if not self._context:
            raise MemoryError("pcre2")
        pcre.pcre2_set_heap_limit_8(self._context, HEAP_KIB_MAX)
        self.no_match = regex.no_match
        self.min_offset = regex.min_offset
        self.max_offset = regex.max_offset
        all_options = self._info(_INFO_ALLOPTIONS)
        self.utf = bool(all_options & OPTIONS["utf"])
        self.first_line = bool(all_options & OPTIONS["firstline"])
        self.undivided = self.first_line or _UNDIVIDED.search(regex.pattern) is not None
        # at least one byte stays before a later window, so that it does not look like the start
        self.lookbehind = max(1, self._info(_INFO_MAXLOOKBEHIND)) * (4 if self.utf else 1)

    def __del__(self) -> None:
        pcre = getattr(self, "_pcre", None)
        if pcre is None:
            return
        if getattr(self, "_context", None):
            pcre.pcre2_match_context_free_8(self._context)
        if getattr(self, "_code", None):
            pcre.pcre2_code_free_8(self._code)

    def _info(self, what: int) -> int:
        value = ctypes.c_uint32()
        self._pcre.pcre2_pattern_info_8(self._code, what, ctypes.byref(value))
        return value.value

    def match(
        self, subject: bytearray, length: int, start: int, places: int, steps: int, *, partial: bool
    ) -> tuple[int, int]:
        """pcre2_match() of subject[:length] from `start` on, where a match may begin at so many
        places, with so many steps for each: its answer (0 or more is a match), and where the match
        or partial match begins."""
        pcre = self._pcre
        pcre.pcre2_set_match_limit_8(self._context, steps)
        pcre.pcre2_set_offset_limit_8(self._context, start + places - 1)
        # It would keep the largest heap that it ever needed: none outlives the call.
        data = pcre.pcre2_match_data_create_8(1, None)
        if not data:
            raise MemoryError("pcre2")
        try:
            pointer: Any = ctypes.byref(ctypes.c_char.from_buffer(subject)) if subject else b""
            options = _PARTIAL_HARD if partial else 0
            code = pcre.pcre2_match_8(
                self._code, pointer, length, start, options, data, self._context
            )
            return int(code), int(pcre.pcre2_get_ovector_pointer_8(data)[0])
        finally:
            pcre.pcre2_match_data_free_8(data)

    def explain(self, code: int) -> str:
        """An error code of `match` in words."""
        return _message(self._pcre, code)


class Search:
    """One page: `feed` its bytes in order, then `finish`."""

    def __init__(
        self,
        pattern: Pattern,
        window_bytes: int = WINDOW_BYTES,
        *,
        clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """`clock`: processor time, ns."""
        self._pattern = pattern
        self._limit = window_bytes
        self._clock = clock
        self._left_ns = BURST_NS
        self._page_left_ns = PAGE_NS
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
        self._left_ns = min(self._left_ns + WINDOW_NS, BURST_NS, self._page_left_ns)
        length = len(window)
        if pattern.utf and not last:
            length -= _incomplete(window)
        # min_offset counts bytes: it may be inside a character
        self._start = self._character(self._start, length)
        code, at = self._match(length, partial=not last)
        if code >= 0:
            at += self._base
            self.found = pattern.max_offset is None or at <= pattern.max_offset
            self._end()
        elif code == _NOMATCH:
            self._drop(length)
        elif code == _PARTIAL:
            self._drop(at)
            if len(self._window) == self._limit:
                self.error = f"a match would be longer than {self._limit} bytes"
                self._end()
        else:
            self.error = self.error or pattern.explain(code)
            self._end()
        passed = self._base + self._start
        if last or (pattern.max_offset is not None and passed > pattern.max_offset):
            self._end()

    def _match(self, length: int, *, partial: bool) -> tuple[int, int]:
        """`Pattern.match` of window[:length] from `self._start` on, in calls that each take a
        short time."""
        pattern, window, begin = self._pattern, self._window, self._start
        places, steps = PLACES, PLACE_STEPS
        answer = _NOMATCH, 0
        while begin <= length:
            count = length - begin + 1
            if not pattern.undivided:
                count = min(places, count)
            before_ns = self._clock()
            answer = pattern.match(window, length, begin, count, steps, partial=partial)
            took_ns = self._clock() - before_ns
            self._left_ns -= took_ns
            self._page_left_ns -= took_ns
            if answer[0] == _MATCHLIMIT:
                if steps == CALL_STEPS:
                    break
                # One place alone, with more.
                places, steps = 1, min(4 * steps, CALL_STEPS)
                took_ns *= 4
            elif answer[0] != _NOMATCH:
                break
            else:
                begin = self._character(begin + count, length)
                if took_ns < QUICK_NS:
                    places = min(4 * places, PLACES_MAX, max(1, CALL_STEPS // steps))
            if self._left_ns <= 0 or took_ns > max(self._left_ns, QUICK_NS):
                limit_ns = PAGE_NS if self._page_left_ns <= BURST_NS else BURST_NS
                self.error = f"no answer within {limit_ns / 1e9:g} s of processor time"
                return _MATCHLIMIT, 0
        return answer

    def _character(self, at: int, length: int) -> int:
        """The first beginning of a character from there on."""
        if self._pattern.utf:
            while at < length and self._window[at] & 0xC0 == 0x80:
                at += 1
        return at

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
        ("set_match_limit", ctypes.c_int, [pointer, ctypes.c_uint32]),
        ("set_offset_limit", ctypes.c_int, [pointer, size]),
        ("get_ovector_pointer", ctypes.POINTER(size), [pointer]),
        ("pattern_info", ctypes.c_int, [pointer, ctypes.c_uint32, pointer]),
        ("get_error_message", ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, size]),
    ):
        function = getattr(pcre, f"pcre2_{name}_8")
        function.restype = result
        function.argtypes = arguments
    _library = pcre
    return pcre
