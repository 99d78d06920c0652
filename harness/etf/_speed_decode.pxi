# External Term Format -> Python: the way in, the small terms, and which reader has which of the others.

from harness.etf.decode import decode as pure_decode
from harness.etf.leaves import LEAVES
from harness.etf.options import DEFAULT, DecodeOptions

cdef struct Reader:
    const unsigned char *data
    Py_ssize_t pos
    Py_ssize_t size
    int max_depth
    Py_ssize_t max_integer
    Py_ssize_t containers  # lists, tuples and maps that may still come
    bint tracked  # a value that the garbage collector has to know has been made since this was last cleared
    PyObject *raw  # the bytes object itself
    PyObject *cache  # a list or tuple of atoms, or None

cdef PyObject *small_integers[256]
cdef PyObject *leaves[256]  # borrowed from LEAVES, NULL where it has none
cdef object _leaf
for _index in range(256):
    small_integers[_index] = PyLong_FromLong(_index)
    _leaf = LEAVES.get(_index)
    leaves[_index] = <PyObject *>_leaf if _leaf is not None else NULL


cdef inline uint32_t u16(const unsigned char *p) noexcept:
    return (<uint32_t>p[0] << 8) | p[1]


cdef inline uint32_t u32(const unsigned char *p) noexcept:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t u64(const unsigned char *p) noexcept:
    return (<uint64_t>u32(p) << 32) | u32(p + 4)


def decode(data, Py_ssize_t pos=0, options=DEFAULT, cache=None):
    """The term without version byte at `pos`, and the position after it. Raises DecodeError."""
    cdef Reader r
    cdef PyObject *made
    if (
        type(data) is bytes
        and 0 <= pos <= len(<bytes>data)
        and type(options) is DecodeOptions
        and (options is DEFAULT or options.plain)
        and (cache is None or type(cache) is tuple or type(cache) is list)
    ):
        r.raw = <PyObject *>data
        r.data = <const unsigned char *>PyBytes_AS_STRING(r.raw)
        r.size = PyBytes_GET_SIZE(r.raw)
        r.pos = pos
        r.cache = <PyObject *>cache
        r.tracked = False
        r.max_depth = min(options.max_depth, MAX_DEPTH)
        r.max_integer = options.max_integer  # no limit is above that of Py_ssize_t
        r.containers = options.containers
        if r.size - pos <= options.max_size:
            made = read(&r, 0, 0)
            if made != NULL:
                value = <object>made
                Py_DECREF(made)
                return value, r.pos
            if PyErr_Occurred() != NULL:
                if not PyErr_ExceptionMatches(PyExc_Exception):  # an interrupt, a greenlet's end
                    harness_raise()
                PyErr_Clear()
    return pure_decode(data, pos, options, cache)


cdef inline bint enter(Reader *r, int depth, Py_ssize_t claimed) noexcept:
    """Whether a container with `claimed` bytes of content at least may start here."""
    r.containers -= 1
    return claimed <= r.size - r.pos and depth < r.max_depth and r.containers >= 0


cdef PyObject *read(Reader *r, int depth, Py_ssize_t owed) noexcept:
    """The term at ``r.pos``. `owed`: terms that containers around it still claim after it, each a byte at least."""
    cdef Py_ssize_t left = r.size - r.pos
    cdef const unsigned char *p = r.data + r.pos
    cdef Py_ssize_t count
    cdef uint64_t bits
    cdef double number
    cdef PyObject *made
    if left < 1:
        return NULL
    cdef int tag = p[0]
    if tag == SMALL_INTEGER:
        if left < 2:
            return NULL
        r.pos += 2
        made = small_integers[p[1]]
        Py_INCREF(made)
        return made
    elif tag == SMALL_ATOM_UTF8:
        if left < 2:
            return NULL
        return read_atom(r, 2, p[1])
    elif tag == ATOM or tag == ATOM_UTF8:
        if left < 3:
            return NULL
        return read_atom(r, 3, u16(p + 1))
    elif tag == INTEGER:
        if left < 5:
            return NULL
        r.pos += 5
        return PyLong_FromLong(<int32_t>u32(p + 1))
    elif tag == BINARY:
        if left < 5:
            return NULL
        count = u32(p + 1)
        if count > left - 5:
            return NULL
        r.pos += 5 + count
        return PyBytes_FromStringAndSize(<const char *>p + 5, count)
    elif tag == NIL:
        r.pos += 1
        r.tracked = True
        r.containers -= 1
        return PyList_New(0) if r.containers >= 0 else NULL
    elif tag == STRING:
        if left < 3:
            return NULL
        return read_string(r, u16(p + 1))
    elif tag == NEW_FLOAT:
        if left < 9 or ((p[1] & 0x7F) == 0x7F and (p[2] & 0xF0) == 0xF0):  # infinite, or not a number
            return NULL
        bits = u64(p + 1)
        memcpy(&number, &bits, 8)
        r.pos += 9
        return PyFloat_FromDouble(number)
    elif tag == SMALL_TUPLE:
        if left < 2:
            return NULL
        return read_tuple(r, 2, p[1], depth, owed)
    elif tag == LARGE_TUPLE:
        if left < 5:
            return NULL
        return read_tuple(r, 5, u32(p + 1), depth, owed)
    elif tag == LIST:
        if left < 5:
            return NULL
        return read_list(r, u32(p + 1), depth, owed)
    elif tag == MAP:
        if left < 5:
            return NULL
        return read_map(r, u32(p + 1), depth, owed)
    elif tag == SMALL_BIG:
        if left >= 3 and p[1] <= 8 and p[2] <= 1:
            return read_big(r, p[1])
    elif tag == LARGE_BIG:
        if left < 5 or u32(p + 1) > r.max_integer:
            return NULL
    elif tag == NEW_PID:
        return read_pid(r)
    elif tag == NEWER_REFERENCE:
        return read_reference(r)
    elif tag == ATOM_CACHE_REF:
        return read_cached(r)
    return read_leaf(r, tag)


cdef PyObject *read_leaf(Reader *r, int tag) noexcept:
    """A rare term, by its pure reader."""
    cdef PyObject *made = NULL
    cdef PyObject *pair
    cdef PyObject *pos
    cdef Py_ssize_t end
    if leaves[tag] == NULL:
        return NULL
    pos = PyLong_FromSsize_t(r.pos)
    if pos == NULL:
        return NULL
    pair = PyObject_CallFunctionObjArgs(leaves[tag], r.raw, pos, r.cache, NULL)
    Py_DECREF(pos)
    if pair == NULL:
        return NULL
    if Py_TYPE(pair) == &PyTuple_Type and PyTuple_GET_SIZE(pair) == 2:
        end = PyLong_AsSsize_t(PyTuple_GET_ITEM(pair, 1))
        if r.pos < end <= r.size:
            r.pos = end
            r.tracked = True
            made = PyTuple_GET_ITEM(pair, 0)
            Py_INCREF(made)
    Py_DECREF(pair)
    return made
