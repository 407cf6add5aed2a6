# Python surface of http.pxi: an answer that somebody else reads from its socket. Typed and documented in
# _core.pyi.

globals().update(
    HTTP_HEADER_BYTES_MAX=HTTP_HEADER_BYTES_MAX, HTTP_ANSWER_BYTES_MAX=HTTP_ANSWER_BYTES_MAX,
    WHY_ERROR=WHY_ERROR, WHY_STATUS=WHY_STATUS, WHY_DIGEST=WHY_DIGEST, WHY_NO_ANSWER=WHY_NO_ANSWER,
    WHY_NO_HEADER=WHY_NO_HEADER, WHY_NO_STATUS=WHY_NO_STATUS, WHY_LONG_HEADER=WHY_LONG_HEADER,
    WHY_LONG_ANSWER=WHY_LONG_ANSWER, WHY_TIMEOUT=WHY_TIMEOUT, WHY_DRIPPED=WHY_DRIPPED,
)


cdef class HttpAnswer:
    cdef answer_t a

    def __init__(self, *, bint digest, bint takes_interim=False):
        answer_init(&self.a, digest, takes_interim)

    def feed(self, bytes data):
        return answer_feed(&self.a, <const u8 *> <const char *> data, <size_t> len(data))

    @property
    def header_bytes(self):
        return self.a.header

    @property
    def complete_header(self):
        return self.a.ending == 4

    @property
    def status(self):
        return self.a.status if self.a.status >= 0 else None

    @property
    def content_length(self):
        return self.a.content_length if self.a.content_length >= 0 else None

    @property
    def body_bytes(self):
        return self.a.body

    @property
    def digest(self):
        cdef u8 digest[16]
        if not self.a.digested:
            raise ValueError("this answer has no digest")
        md5_digest(&self.a.md5, digest)
        return (<const char *> digest)[:16]


cdef web_t *make_web(object urls) except NULL:
    """(request, digest or None, ranges of statuses) of each url, in memory that free() takes."""
    cdef size_t codes = 0
    cdef size_t requests = 0
    cdef size_t head
    cdef web_t *w
    cdef url_t *url
    cdef u32 k = 0
    cdef u32 code = 0
    cdef u32 at = 0
    cdef bytes request
    cdef bytes digest
    for request, digest, ranges in urls:
        if digest is not None and len(digest) != 16:
            raise ValueError("a digest is 16 bytes")
        codes += len(ranges)
        requests += len(request)
    if requests > 0x7FFFFFFF:
        raise ValueError("requests of more than 2 GiB")
    head = sizeof(web_t) + len(urls) * sizeof(url_t) + codes * sizeof(codes_t)
    w = <web_t *> calloc(1, head + requests)
    if w == NULL:
        raise MemoryError()
    w.urls = <url_t *> (<u8 *> w + sizeof(web_t))
    w.codes = <codes_t *> (<u8 *> w.urls + len(urls) * sizeof(url_t))
    w.requests = <u8 *> w + head
    try:
        for request, digest, ranges in urls:
            url = &w.urls[k]
            url.request = at
            url.request_bytes = <u32> len(request)
            memcpy(w.requests + at, <const char *> request, len(request))
            at += url.request_bytes
            if digest is not None:
                url.has_digest = 1
                memcpy(url.digest, <const char *> digest, 16)
            url.codes = code
            url.code_count = <u32> len(ranges)
            for low, high in ranges:
                w.codes[code].low = low
                w.codes[code].high = high
                code += 1
            url.takes_interim = codes_interim(w.codes + url.codes, url.code_count)
            k += 1
    except BaseException:           # whatever it was, nobody else has it to give it back
        free(w)
        raise
    return w
