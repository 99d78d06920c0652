# Python -> External Term Format.

from libc.math cimport isfinite

from harness.etf.encode import encode as pure_encode
from harness.etf.encode import encode_within, endless, twice
from harness.etf.options import WIRE, EncodeOptions

cdef enum:
    SCRATCH = 2048

cdef struct Writer:
    unsigned char *start
    unsigned char *at  # where the next byte goes
    unsigned char *end
    bint listed  # str as a list of code points
    int version  # minor_version
    PyObject *options
    PyObject *grown  # the bytes object that start..end are in, once the scratch space was too small


def encode(term, options=WIRE):
    """`term` without version byte: what goes inside another term. Raises EncodeError, and what ``__etf__`` methods raise.
    """
    cdef Writer w
    cdef unsigned char scratch[SCRATCH]
    w.start = w.at = scratch
    w.end = scratch + SCRATCH
    w.grown = NULL
    w.options = <PyObject *>options
    w.listed = False
    w.version = 2
    if options is not WIRE:
        if type(options) is not EncodeOptions or not options.plain or options.string == "utf8":
            return pure_encode(term, options)
        w.listed = options.string == "list"
        w.version = options.minor_version
    if write(&w, <PyObject *>term, 0):
        return written(&w)
    Py_XDECREF(w.grown)
    if PyErr_ExceptionMatches(PyExc_RecursionError):
        PyErr_Clear()
        raise endless()
    harness_raise()


cdef object written(Writer *w):
    """The bytes, once."""
    cdef Py_ssize_t size = w.at - w.start
    cdef PyObject *made = w.grown
    if made == NULL:
        made = PyBytes_FromStringAndSize(<const char *>w.start, size)
    else:
        _PyBytes_Resize(&made, size)
    if made == NULL:
        harness_raise()
    raw = <object>made
    Py_DECREF(made)
    return raw


cdef inline bint room(Writer *w, Py_ssize_t size) noexcept:
    """Room for `size` bytes more, or false."""
    return size <= w.end - w.at or grow(w, size)


cdef bint grow(Writer *w, Py_ssize_t size) noexcept:
    cdef Py_ssize_t used = w.at - w.start
    cdef Py_ssize_t wanted = used + (used if used > size else size)
    cdef PyObject *made
    if w.grown == NULL:
        made = PyBytes_FromStringAndSize(NULL, wanted)
        if made == NULL:
            return False
        memcpy(PyBytes_AS_STRING(made), w.start, used)
        w.grown = made
    elif _PyBytes_Resize(&w.grown, wanted) < 0:
        return False
    w.start = <unsigned char *>PyBytes_AS_STRING(w.grown)
    w.at = w.start + used
    w.end = w.start + wanted
    return True


cdef inline void put_u32(unsigned char *p, uint32_t value) noexcept:
    p[0] = value >> 24
    p[1] = (value >> 16) & 0xFF
    p[2] = (value >> 8) & 0xFF
    p[3] = value & 0xFF


cdef inline void head_u32(Writer *w, unsigned char tag, uint32_t value) noexcept:
    """Tag and count; the room has been made."""
    w.at[0] = tag
    put_u32(w.at + 1, value)
    w.at += 5


cdef inline void head_u16(Writer *w, unsigned char tag, uint32_t value) noexcept:
    w.at[0] = tag
    w.at[1] = (value >> 8) & 0xFF
    w.at[2] = value & 0xFF
    w.at += 3


cdef bint write(Writer *w, PyObject *value, int depth) noexcept:
    """`value` at ``w.at``; false: an exception is set. The caller owns a reference to `value`."""
    cdef PyTypeObject *kind = Py_TYPE(value)
    cdef Py_ssize_t before = w.at - w.start
    cdef bint done = False
    if kind == &PyTuple_Type or kind == &PyList_Type or kind == &PyDict_Type:
        if depth < MAX_DEPTH:
            if kind == &PyTuple_Type:
                return write_tuple(w, value, depth)
            elif kind == &PyList_Type:
                return write_list(w, value, depth)
            return write_dict(w, value, depth)
    elif kind == &PyLong_Type:
        done = write_integer(w, value)
    elif kind == atom_type:
        done = write_atom(w, value)
    elif kind == &PyBytes_Type:
        done = write_binary(w, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    elif kind == &PyFloat_Type:
        done = w.version > 0 and write_float(w, PyFloat_AS_DOUBLE(value))
    elif kind == &PyUnicode_Type:
        done = write_text(w, value)
    elif value == Py_True:
        done = w.version == 2 and write_raw(w, b"w\4true", 6)
    elif value == Py_False:
        done = w.version == 2 and write_raw(w, b"w\5false", 7)
    elif value == Py_None:
        done = w.version == 2 and write_raw(w, b"w\tundefined", 11)
    elif kind == pid_type:
        done = write_pid(w, value)
    elif kind == reference_type:
        done = write_reference(w, value)
    return done or write_rare(w, value, before, depth)


cdef bint write_raw(Writer *w, const char *raw, Py_ssize_t size) noexcept:
    if not room(w, size):
        return False
    memcpy(w.at, raw, size)
    w.at += size
    return True


cdef bint write_rare(Writer *w, PyObject *value, Py_ssize_t before, int depth) noexcept:
    """What has no writer here or was too much for it, by the pure encoder; `before`: where its bytes start."""
    cdef bint done
    cdef PyObject *raw
    cdef PyObject *nested
    PyErr_Clear()
    w.at = w.start + before
    nested = PyLong_FromLong(depth)
    if nested == NULL:
        return False
    raw = PyObject_CallFunctionObjArgs(<PyObject *>encode_within, value, w.options, nested, NULL)
    Py_DECREF(nested)
    if raw == NULL:
        return False
    done = write_raw(w, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
    Py_DECREF(raw)
    return done


cdef inline bint write_integer(Writer *w, PyObject *value) noexcept:
    cdef int overflow = 0
    cdef long long number
    cdef uint64_t magnitude
    cdef int count = 0
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or not room(w, 11):
        return False
    if 0 <= number <= 255:
        w.at[0] = SMALL_INTEGER
        w.at[1] = <unsigned char>number
        w.at += 2
    elif -0x80000000LL <= number <= 0x7FFFFFFFLL:
        head_u32(w, INTEGER, <uint32_t>number)
    else:
        magnitude = -<uint64_t>number if number < 0 else <uint64_t>number
        w.at[0] = SMALL_BIG
        w.at[2] = number < 0
        while magnitude:
            w.at[3 + count] = magnitude & 0xFF
            magnitude >>= 8
            count += 1
        w.at[1] = <unsigned char>count
        w.at += 3 + count
    return True


cdef inline bint write_float(Writer *w, double number) noexcept:
    cdef uint64_t bits
    if not isfinite(number) or not room(w, 9):
        return False
    memcpy(&bits, &number, 8)
    w.at[0] = NEW_FLOAT
    put_u32(w.at + 1, <uint32_t>(bits >> 32))
    put_u32(w.at + 5, <uint32_t>bits)
    w.at += 9
    return True


cdef inline bint write_binary(Writer *w, const char *raw, Py_ssize_t size) noexcept:
    if size > 0xFFFFFFFFLL or not room(w, 5 + size):
        return False
    head_u32(w, BINARY, <uint32_t>size)
    memcpy(w.at, raw, size)
    w.at += size
    return True


cdef bint write_text(Writer *w, PyObject *value) noexcept:
    cdef Py_ssize_t size
    cdef const char *raw
    if w.listed:
        return write_characters(w, value)
    raw = PyUnicode_AsUTF8AndSize(value, &size)
    return raw != NULL and write_binary(w, raw, size)


cdef bint write_characters(Writer *w, PyObject *value) noexcept:
    """A str as a list: here while it is in Latin-1."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value)
    if not 0 < size < 65536 or PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND or not room(w, 3 + size):
        return False
    head_u16(w, STRING, <uint32_t>size)
    memcpy(w.at, PyUnicode_1BYTE_DATA(value), size)
    w.at += size
    return True


cdef inline bint write_atom(Writer *w, PyObject *value) noexcept:
    """Of an Atom, or the plain str where only an atom can be."""
    cdef Py_ssize_t size
    cdef const char *raw
    size = PyUnicode_GET_LENGTH(value)
    if size > 255:
        return False
    if w.version < 2 and PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND:
        if not room(w, 3 + size):
            return False
        head_u16(w, ATOM, <uint32_t>size)
        memcpy(w.at, PyUnicode_1BYTE_DATA(value), size)
        w.at += size
        return True
    raw = PyUnicode_AsUTF8AndSize(value, &size)
    if raw == NULL or not room(w, 3 + size):
        return False
    if size < 256:
        w.at[0] = SMALL_ATOM_UTF8
        w.at[1] = <unsigned char>size
        w.at += 2
    else:
        head_u16(w, ATOM_UTF8, <uint32_t>size)
    memcpy(w.at, raw, size)
    w.at += size
    return True
