# The answer to a GET, as it arrives in pieces: header, status, digest. Pure; nothing of it is kept.
#
# HTTP is read as keepalived reads it, so that a digest computed with its genhash stays right: the
# header ends with an empty line (CRLF) and, for what is looked for in it, with the first NUL;
# Content-Length is looked for by that very spelling, its first place counts, also in the status line;
# nothing is decoded, and what follows Content-Length bytes of body is not in the digest.
# Unlike keepalived it knows that an interim answer (RFC 9110 15.2: 1xx) is followed by the one that
# counts. For whoever wants a 1xx that is the answer, as with keepalived.

cdef enum:
    HTTP_HEADER_BYTES_MAX = 65536
    HTTP_ANSWER_BYTES_MAX = 67108864    # a server that never stops sending is not up
    HTTP_NUMBER_MAX = 20                # characters of a length that count

cdef enum:                      # why an attempt ended as it did
    WHY_ERROR = 0               # an errno; 0: connected
    WHY_STATUS = 1              # the status
    WHY_DIGEST = 2
    WHY_NO_ANSWER = 3
    WHY_NO_HEADER = 4
    WHY_NO_STATUS = 5
    WHY_LONG_HEADER = 6
    WHY_LONG_ANSWER = 7
    WHY_TIMEOUT = 8             # of one wait
    WHY_DRIPPED = 9             # of all of them

cdef enum:                      # answer_t.line: what of the status line comes next
    LINE_VERSION = 0
    LINE_CODE = 1               # three digits: 1, 2, 3
    LINE_AFTER = 4
    LINE_OVER = 5

cdef enum:                      # answer_t.length: what of `Content-Length: 17` comes next
    LENGTH_NAME = 0
    LENGTH_BLANK = 1
    LENGTH_DIGIT = 2            # the first, behind a sign
    LENGTH_DIGITS = 3
    LENGTH_OVER = 4

cdef extern from *:
    """
    static const char fv_length_name[] = "Content-Length:";
    """
    const char *fv_length_name

ctypedef struct answer_t:
    u64 received
    u64 body                    # bytes of it that arrived
    i64 content_length          # -1: none
    i64 number                  # being read
    u32 header                  # bytes of it that arrived
    i32 status                  # -1: none
    i32 code                    # being read
    u8 ending                   # characters of the empty line so far, 4: the header is complete
    u8 cut                      # there was a NUL
    u8 line
    u8 length
    u8 matched                  # characters of the name
    u8 taken                    # characters of the number
    u8 negative
    u8 digested
    u8 takes_interim            # an interim answer is the answer
    md5_t md5

ctypedef struct codes_t:        # a range of statuses, both ends included
    i32 low
    i32 high


cdef void answer_init(answer_t *a, bint digested, bint takes_interim) noexcept nogil:
    memset(a, 0, sizeof(answer_t) - sizeof(md5_t))
    answer_begin(a)
    a.digested = digested
    a.takes_interim = takes_interim
    if digested:
        md5_init(&a.md5)


cdef inline void answer_begin(answer_t *a) noexcept nogil:
    """The next byte is the first of a header. What all of them may have together goes on."""
    a.content_length = -1
    a.number = 0
    a.status = -1
    a.code = 0
    a.ending = 0
    a.cut = 0
    a.line = LINE_VERSION
    a.length = LENGTH_NAME
    a.matched = 0
    a.taken = 0
    a.negative = 0


cdef inline bint is_interim(i32 status) noexcept nogil:
    """101 is none: what follows it is no HTTP."""
    return status >= 100 and status <= 199 and status != 101


cdef inline bint is_digit(u8 c) noexcept nogil:
    return c >= 48 and c <= 57


cdef inline void line_next(answer_t *a, u8 c) noexcept nogil:
    """Blank, three digits, and a blank or the line's end behind them."""
    if a.line == LINE_VERSION:
        if c == 32:
            a.line = LINE_CODE
        elif c == 13 or c == 10:
            a.line = LINE_OVER
    elif a.line == LINE_AFTER:
        if c == 32 or c == 13:
            a.status = a.code
        a.line = LINE_OVER
    elif is_digit(c):
        a.code = a.code * 10 + c - 48
        a.line += 1
    else:
        a.line = LINE_OVER


cdef inline void length_taken(answer_t *a) noexcept nogil:
    a.length = LENGTH_OVER
    if a.number == 0 or not a.negative:
        a.content_length = a.number


cdef inline void length_next(answer_t *a, u8 c) noexcept nogil:
    if a.length == LENGTH_NAME:
        if c != <u8> fv_length_name[a.matched]:
            a.matched = c == <u8> fv_length_name[0]         # which comes nowhere else in it
            return
        a.matched += 1
        if fv_length_name[a.matched] == 0:
            a.length = LENGTH_BLANK
    elif a.length == LENGTH_DIGITS and not is_digit(c):
        if c == 13 or c == 10:
            length_taken(a)
        a.length = LENGTH_OVER
    elif is_digit(c):
        a.length = LENGTH_DIGITS
        if a.taken < HTTP_NUMBER_MAX:
            a.taken += 1
            a.number = imin(a.number * 10 + c - 48, <i64> 1 << 56)
    elif a.length == LENGTH_BLANK and (c == 43 or c == 45):
        a.length = LENGTH_DIGIT
        a.negative = c == 45
        a.taken = 1
    elif a.length != LENGTH_BLANK or not (c == 32 or (c >= 9 and c <= 13)):
        a.length = LENGTH_OVER


cdef inline void ending_next(answer_t *a, u8 c) noexcept nogil:
    if c == 13:
        a.ending = 3 if a.ending == 2 else 1
    elif c == 10 and a.ending & 1:
        a.ending += 1
    else:
        a.ending = 0


cdef void answer_body(answer_t *a, const u8 *data, size_t n) noexcept nogil:
    cdef u64 before = a.body
    a.body += n
    if not a.digested:
        return
    if a.content_length >= 0:
        if before >= <u64> a.content_length:
            return
        n = min(n, <size_t> (<u64> a.content_length - before))
    md5_update(&a.md5, data, n)


cdef u32 answer_feed(answer_t *a, const u8 *data, size_t n) noexcept nogil:
    """The next piece. Not 0: why no more of it is wanted."""
    cdef size_t k = 0
    a.received += n
    if a.received > HTTP_ANSWER_BYTES_MAX:
        return WHY_LONG_ANSWER
    while k < n and a.ending < 4:
        if a.header == HTTP_HEADER_BYTES_MAX:
            return WHY_LONG_HEADER
        a.header += 1
        if not a.cut:
            if data[k] == 0:
                a.cut = 1
                if a.length == LENGTH_DIGITS:
                    length_taken(a)
            else:
                if a.line < LINE_OVER:
                    line_next(a, data[k])
                if a.length < LENGTH_OVER:
                    length_next(a, data[k])
        ending_next(a, data[k])
        k += 1
        if a.ending == 4 and is_interim(a.status) and not a.takes_interim:
            answer_begin(a)
    if k < n:
        answer_body(a, data + k, n - k)
    return 0


cdef u32 answer_judge(const answer_t *a, const codes_t *codes, u32 count, const u8 *digest, u8 *seen) noexcept nogil:
    """What the whole answer means: WHY_STATUS, and whether that is one of these; or what is wrong with
    it. `digest` NULL: any. `seen`: the one it has, with WHY_DIGEST."""
    if a.ending < 4:
        return WHY_NO_HEADER if a.received else WHY_NO_ANSWER
    if a.status < 0:
        return WHY_NO_STATUS
    if digest != NULL and answer_wanted(a, codes, count):
        md5_digest(&a.md5, seen)
        if memcmp(seen, digest, 16) != 0:
            return WHY_DIGEST
    return WHY_STATUS


cdef bint answer_wanted(const answer_t *a, const codes_t *codes, u32 count) noexcept nogil:
    """Whether the status is one of these."""
    cdef u32 k
    for k in range(count):
        if codes[k].low <= a.status <= codes[k].high:
            return True
    return False


cdef bint codes_interim(const codes_t *codes, u32 count) noexcept nogil:
    """Whether one of these is the status of an interim answer."""
    cdef u32 k
    for k in range(count):
        if codes[k].low <= 199 and codes[k].high >= 100:
            return True
    return False
