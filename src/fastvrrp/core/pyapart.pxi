# Memory of objects that live for a moment, for Python: from the C library instead of the interpreter's arenas. A
# single object that stays keeps a megabyte of these, but only a page of the C library's. Documented in _core.pyi.

cdef extern from "Python.h":
    ctypedef struct PyMemAllocatorEx:
        void *ctx
        void *(*malloc)(void *ctx, size_t size)
        void *(*calloc)(void *ctx, size_t n, size_t size)
        void *(*realloc)(void *ctx, void *p, size_t size)
        void (*free)(void *ctx, void *p)
    ctypedef enum PyMemAllocatorDomain:
        PYMEM_DOMAIN_MEM
        PYMEM_DOMAIN_OBJ
    void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)
    void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)
    void *PyMem_RawMalloc(size_t size)
    void *PyMem_RawCalloc(size_t n, size_t size)

cdef PyMemAllocatorEx usual_mem
cdef PyMemAllocatorEx usual_obj
cdef bint is_apart = False


# What the usual allocator did not make it gives to the C library, as it does with everything large (and counts
# it in sys.getallocatedblocks(), where it will not have been counted when it was made): whoever
# frees or resizes a block need not know where it came from.

cdef void *apart_malloc(void *ctx, size_t size) noexcept:
    return PyMem_RawMalloc(size)


cdef void *apart_calloc(void *ctx, size_t n, size_t size) noexcept:
    return PyMem_RawCalloc(n, size)


cdef void *apart_realloc(void *ctx, void *p, size_t size) noexcept:
    cdef PyMemAllocatorEx *usual = <PyMemAllocatorEx *> ctx
    return PyMem_RawMalloc(size) if p == NULL else usual.realloc(usual.ctx, p, size)


cdef void apart_free(void *ctx, void *p) noexcept:
    cdef PyMemAllocatorEx *usual = <PyMemAllocatorEx *> ctx
    usual.free(usual.ctx, p)


def allocate_apart(bint on):
    global is_apart
    cdef PyMemAllocatorEx made
    if on == is_apart:
        return
    if on:
        PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &usual_mem)
        PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &usual_obj)
        made.malloc, made.calloc, made.realloc, made.free = apart_malloc, apart_calloc, apart_realloc, apart_free
        made.ctx = &usual_mem
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &made)
        made.ctx = &usual_obj
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &made)
    else:
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &usual_mem)
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &usual_obj)
    is_apart = on
