# Constants that are not layout, and small pure helpers used everywhere.


cdef extern from *:
    """
    #define FV_NEVER ((int64_t)0x7fffffffffffffffLL)
    #define FV_NS_PER_CS 10000000LL
    #define FV_NS_PER_S 1000000000LL
    #define TOLD_NS 250000000LL
    #define CHECK_START_NS 1000000000LL
    #define CHECK_DELAY_MAX_NS (1LL << 58)
    """
    const i64 FV_NEVER
    const i64 FV_NS_PER_CS
    const i64 FV_NS_PER_S
    const i64 TOLD_NS           # between two events of one kind that a sender can cause with every packet
    const i64 CHECK_START_NS    # from the start to the first attempt of a health check, at the least
    const i64 CHECK_DELAY_MAX_NS    # nine years: no sum of a moment and delays overflows


cdef inline i64 imin(i64 a, i64 b) noexcept nogil:
    return a if a < b else b


cdef inline i64 imax(i64 a, i64 b) noexcept nogil:
    return a if a > b else b
