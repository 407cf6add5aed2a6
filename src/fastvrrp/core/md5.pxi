# MD5 (RFC 1321), for `digest` of HTTP_GET: a page is summed up as it arrives. Pure.

cdef extern from *:
    """
    /* RFC 1321 3.4: the integer part of 2**32 * abs(sin(i + 1)) */
    static const uint32_t fv_md5_sines[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
        0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
        0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
        0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
        0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
        0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
        0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
    };
    /* of the four rounds, each row used four times */
    static const uint8_t fv_md5_turns[16] = { 7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21 };
    static inline uint32_t fv_rotate(uint32_t v, unsigned n) { return v << n | v >> (32 - n); }
    """
    const u32 *fv_md5_sines
    const u8 *fv_md5_turns
    u32 fv_rotate(u32 v, u32 n) nogil

ctypedef struct md5_t:
    u32 state[4]
    u64 count                   # bytes so far
    u8 block[64]


cdef void md5_init(md5_t *m) noexcept nogil:
    m.state[0] = 0x67452301
    m.state[1] = 0xefcdab89
    m.state[2] = 0x98badcfe
    m.state[3] = 0x10325476
    m.count = 0


cdef inline u32 md5_word(const u8 *p) noexcept nogil:
    return p[0] | <u32> p[1] << 8 | <u32> p[2] << 16 | <u32> p[3] << 24


cdef void md5_block(md5_t *m, const u8 *block) noexcept nogil:
    cdef u32 x[16]
    cdef u32 a = m.state[0]
    cdef u32 b = m.state[1]
    cdef u32 c = m.state[2]
    cdef u32 d = m.state[3]
    cdef u32 f
    cdef u32 g
    cdef u32 k
    for k in range(16):
        x[k] = md5_word(block + 4 * k)
    for k in range(64):
        if k < 16:
            f = d ^ (b & (c ^ d))
            g = k
        elif k < 32:
            f = c ^ (d & (b ^ c))
            g = (5 * k + 1) & 15
        elif k < 48:
            f = b ^ c ^ d
            g = (3 * k + 5) & 15
        else:
            f = c ^ (b | ~d)
            g = (7 * k) & 15
        f += a + fv_md5_sines[k] + x[g]
        a = d
        d = c
        c = b
        b += fv_rotate(f, fv_md5_turns[(k >> 4) * 4 + (k & 3)])
    m.state[0] += a
    m.state[1] += b
    m.state[2] += c
    m.state[3] += d


cdef void md5_update(md5_t *m, const u8 *data, size_t n) noexcept nogil:
    cdef size_t kept = m.count & 63
    cdef size_t room = 64 - kept
    m.count += n
    if kept:
        if n < room:
            memcpy(m.block + kept, data, n)
            return
        memcpy(m.block + kept, data, room)
        md5_block(m, m.block)
        data += room
        n -= room
    while n >= 64:
        md5_block(m, data)
        data += 64
        n -= 64
    memcpy(m.block, data, n)


cdef void md5_digest(const md5_t *m, u8 *digest) noexcept nogil:
    """16 bytes: of what came so far; more may come."""
    cdef md5_t last = m[0]
    cdef u64 bits = last.count * 8
    cdef size_t kept = last.count & 63
    cdef u32 k
    last.block[kept] = 0x80
    memset(last.block + kept + 1, 0, 63 - kept)
    if kept >= 56:
        md5_block(&last, last.block)
        memset(last.block, 0, 56)
    for k in range(8):
        last.block[56 + k] = <u8> (bits >> (8 * k))
    md5_block(&last, last.block)
    for k in range(16):
        digest[k] = <u8> (last.state[k >> 2] >> (8 * (k & 3)))
