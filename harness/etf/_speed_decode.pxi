# External Term Format -> Python.

from harness.etf.decode import build_map
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
        r.max_integer = options.max_integer
        r.containers = options.max_containers
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


# --- atoms: those met lately, by their bytes ---------------------------------------------------------------------------

cdef enum:
    SLOT_BITS = 11
    NAME_MAX = 55

cdef struct Slot:
    PyObject *value  # Atom, True, False or None; NULL: free
    unsigned char size
    unsigned char name[NAME_MAX]

cdef Slot atoms[1 << SLOT_BITS]


cdef inline uint64_t hashed(const unsigned char *name, Py_ssize_t size) noexcept:
    """Which slot: of the first, the middle and the last bytes, for speed; atoms that meet in a slot replace each other."""
    cdef uint64_t first = 0
    cdef uint64_t last = 0
    cdef uint64_t middle = 0
    if size >= 8:
        memcpy(&first, name, 8)
        memcpy(&last, name + size - 8, 8)
        if size > 16:
            memcpy(&middle, name + size // 2 - 4, 8)
    elif size >= 4:
        memcpy(&first, name, 4)
        memcpy(&last, name + size - 4, 4)
    elif size > 0:
        first = name[0] | (<uint64_t>name[size // 2] << 8) | (<uint64_t>name[size - 1] << 16)
    first = (first ^ <uint64_t>size) * <uint64_t>0x9E3779B97F4A7C15
    first = (first ^ (first >> 32) ^ last) * <uint64_t>0xBF58476D1CE4E5B9
    first = (first ^ (first >> 29) ^ middle) * <uint64_t>0x94D049BB133111EB
    return first >> (64 - SLOT_BITS)


cdef inline PyObject *read_atom(Reader *r, Py_ssize_t head, Py_ssize_t size) noexcept:
    """The atom whose `size` bytes start `head` bytes after ``r.pos``."""
    cdef const unsigned char *name = r.data + r.pos + head
    cdef Slot *slot
    cdef PyObject *made
    if size > r.size - r.pos - head:
        return NULL
    if size > NAME_MAX:
        return read_leaf(r, name[-head])
    slot = &atoms[hashed(name, size)]
    if slot.value != NULL and slot.size == size and memcmp(slot.name, name, size) == 0:
        r.pos += head + size
        Py_INCREF(slot.value)
        return slot.value
    return read_new_atom(r, slot, head, size)


cdef PyObject *read_new_atom(Reader *r, Slot *slot, Py_ssize_t head, Py_ssize_t size) noexcept:
    cdef const unsigned char *name = r.data + r.pos + head
    cdef bint tracked = r.tracked
    cdef PyObject *made
    cdef PyObject *old
    cdef Py_ssize_t at
    made = read_leaf(r, name[-head])
    r.tracked = tracked  # an atom is nothing the collector has to know
    if made == NULL:
        return NULL
    if name[-head] == ATOM:  # Latin-1: the same bytes as in UTF-8 only while they are ASCII
        for at in range(size):
            if name[at] >= 0x80:
                return made
    old = slot.value
    slot.value = made
    slot.size = <unsigned char>size
    memcpy(slot.name, name, size)
    Py_INCREF(made)
    Py_XDECREF(old)
    return made


cdef PyObject *read_cached(Reader *r) noexcept:
    """What an ATOM_CACHE_REF stands for."""
    cdef PyObject *made = NULL
    cdef Py_ssize_t index
    if r.size - r.pos < 2:
        return NULL
    index = r.data[r.pos + 1]
    if Py_TYPE(r.cache) == &PyTuple_Type and index < PyTuple_GET_SIZE(r.cache):
        made = PyTuple_GET_ITEM(r.cache, index)
    elif Py_TYPE(r.cache) == &PyList_Type and index < PyList_GET_SIZE(r.cache):
        made = PyList_GET_ITEM(r.cache, index)
    if made != NULL:
        Py_INCREF(made)
        r.pos += 2
    return made


# --- containers --------------------------------------------------------------------------------------------------------


cdef PyObject *read_tuple(Reader *r, Py_ssize_t head, Py_ssize_t count, int depth, Py_ssize_t owed) noexcept:
    cdef bint tracked = r.tracked
    cdef PyObject *made
    cdef PyObject *item
    cdef Py_ssize_t index
    r.pos += head
    if not enter(r, depth, count + owed):
        return NULL
    made = PyTuple_New(count)
    if made == NULL or count == 0:
        return made
    r.tracked = False
    for index in range(count):
        item = read(r, depth + 1, owed + count - 1 - index)
        if item == NULL:
            Py_DECREF(made)
            return NULL
        PyTuple_SET_ITEM(made, index, item)
    if not r.tracked:  # as the collector itself would do, later and for more
        PyObject_GC_UnTrack(made)
        r.tracked = tracked
    return made


cdef PyObject *read_string(Reader *r, Py_ssize_t count) noexcept:
    cdef const unsigned char *p = r.data + r.pos + 3
    cdef PyObject *made
    cdef PyObject *item
    cdef Py_ssize_t index
    r.containers -= 1
    if count > r.size - r.pos - 3 or r.containers < 0:
        return NULL
    made = PyList_New(count)
    if made == NULL:
        return NULL
    for index in range(count):
        item = small_integers[p[index]]
        Py_INCREF(item)
        PyList_SET_ITEM(made, index, item)
    r.pos += 3 + count
    r.tracked = True
    return made


cdef PyObject *read_list(Reader *r, Py_ssize_t count, int depth, Py_ssize_t owed) noexcept:
    cdef PyObject *made
    cdef PyObject *item
    cdef Py_ssize_t index
    r.pos += 5
    if not enter(r, depth, count + 1 + owed):
        return NULL
    made = PyList_New(count)
    if made == NULL:
        return NULL
    for index in range(count):
        item = read(r, depth + 1, owed + count - index)
        if item == NULL:
            Py_DECREF(made)
            return NULL
        PyList_SET_ITEM(made, index, item)
    r.tracked = True
    if r.pos < r.size and r.data[r.pos] == NIL and r.containers > 0:
        r.pos += 1
        r.containers -= 1
        return made
    item = read(r, depth + 1, owed)
    if item == NULL or count == 0:
        Py_DECREF(made)
        return item
    r.tracked = True
    return joined(made, item)


cdef PyObject *joined(PyObject *items, PyObject *tail) noexcept:
    """A list whose tail is not written as nil; takes both references."""
    cdef PyObject *made = PyObject_CallFunctionObjArgs(<PyObject *>join_function, items, tail, NULL)
    Py_DECREF(items)
    Py_DECREF(tail)
    return made


def _join(list items not None, tail):
    if type(tail) is list:
        items += tail
        return items
    if type(tail) is ImproperList:
        return ImproperList((*items, *tail.elements), tail.tail)
    return ImproperList(tuple(items), tail)


cdef object join_function = _join


cdef PyObject *read_map(Reader *r, Py_ssize_t count, int depth, Py_ssize_t owed) noexcept:
    """A dict, as long as it keeps the keys apart."""
    cdef PyObject *made
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t index
    cdef bint apart
    r.pos += 5
    if not enter(r, depth, 2 * count + owed):
        return NULL
    made = PyDict_New()
    if made == NULL:
        return NULL
    owed += 2 * count
    for index in range(count):
        owed -= 2
        key = read(r, depth + 1, owed + 1)
        value = read(r, depth + 1, owed) if key != NULL else NULL
        if value == NULL:
            Py_XDECREF(key)
            Py_DECREF(made)
            return NULL
        apart = PyDict_SetDefault(made, key, value) != NULL and PyDict_Size(made) == index + 1
        if not apart:
            return read_odd_map(r, made, key, value, count - index - 1, depth, owed)
        Py_DECREF(key)
        Py_DECREF(value)
    r.tracked = True
    return made


cdef PyObject *read_odd_map(
    Reader *r, PyObject *before, PyObject *key, PyObject *value, Py_ssize_t count, int depth, Py_ssize_t owed
) noexcept:
    """A map of the pairs in the dict `before`, the pair it could not take, and `count` more. Takes the references."""
    cdef PyObject *both = NULL  # the list of the keys, that of the values
    cdef PyObject *made = NULL
    if (  # one key to Python, or no key to it at all
        PyErr_Occurred() == NULL
        or PyErr_ExceptionMatches(PyExc_TypeError)
        or PyErr_ExceptionMatches(PyExc_RecursionError)
    ):
        PyErr_Clear()
        both = PyObject_CallFunctionObjArgs(<PyObject *>parts_function, before, NULL)
    Py_DECREF(before)
    while both != NULL and key != NULL and value != NULL:
        if PyList_Append(PyTuple_GET_ITEM(both, 0), key) < 0 or PyList_Append(PyTuple_GET_ITEM(both, 1), value) < 0:
            break
        if count == 0:
            made = PyObject_Call(<PyObject *>odd_map_function, both, NULL)
            r.tracked = True
            break
        count -= 1
        owed -= 2
        Py_DECREF(key)
        Py_DECREF(value)
        key = read(r, depth + 1, owed + 1)
        value = read(r, depth + 1, owed) if key != NULL else NULL
    Py_XDECREF(key)
    Py_XDECREF(value)
    Py_XDECREF(both)
    return made


def _parts(dict before not None):
    return list(before), list(before.values())


def _odd_map(list keys not None, list values not None):
    return build_map(keys, values, 0)  # the place is for its errors, and those come from pure_decode


cdef object parts_function = _parts
cdef object odd_map_function = _odd_map


# --- integers beyond 32 bits, identifiers ------------------------------------------------------------------------------


cdef PyObject *read_big(Reader *r, Py_ssize_t count) noexcept:
    """At most 64 bits."""
    cdef const unsigned char *p = r.data + r.pos + 3
    cdef uint64_t magnitude = 0
    cdef PyObject *positive
    cdef PyObject *made
    cdef Py_ssize_t index
    if count > r.size - r.pos - 3:
        return NULL
    for index in range(count):
        magnitude |= <uint64_t>p[index] << (8 * index)
    r.pos += 3 + count
    if p[-1] == 0:
        return PyLong_FromUnsignedLongLong(magnitude)
    if magnitude >> 63 == 0:
        return PyLong_FromLongLong(-<long long>magnitude)
    positive = PyLong_FromUnsignedLongLong(magnitude)
    if positive == NULL:
        return NULL
    made = PyNumber_Negative(positive)
    Py_DECREF(positive)
    return made


cdef PyObject *read_node(Reader *r) noexcept:
    """The node's name inside an identifier, if it is a plain atom."""
    cdef const unsigned char *p = r.data + r.pos
    cdef Py_ssize_t left = r.size - r.pos
    cdef PyObject *made = NULL
    if left >= 3 and p[0] == SMALL_ATOM_UTF8:
        made = read_atom(r, 2, p[1])
    elif left >= 3 and (p[0] == ATOM or p[0] == ATOM_UTF8):
        made = read_atom(r, 3, u16(p + 1))
    elif left >= 3 and p[0] == ATOM_CACHE_REF:
        made = read_cached(r)
    if made != NULL and Py_TYPE(made) != atom_type:  # a node may be called true
        Py_DECREF(made)
        return NULL
    return made


cdef PyObject *read_pid(Reader *r) noexcept:
    cdef const unsigned char *p
    cdef PyObject *made
    cdef PyObject *node
    cdef int index
    r.pos += 1
    node = read_node(r)
    if node == NULL:
        return NULL
    if r.size - r.pos < 12:
        Py_DECREF(node)
        return NULL
    p = r.data + r.pos
    r.pos += 12
    made = PyType_GenericAlloc(pid_type, 0)
    if made == NULL:
        Py_DECREF(node)
        return NULL
    r.tracked = True
    if set_slot(made, pid_slots[0], node):
        for index in range(3):
            if not set_slot(made, pid_slots[1 + index], PyLong_FromUnsignedLongLong(u32(p + 4 * index))):
                break
        else:
            return made
    Py_DECREF(made)
    return NULL


cdef PyObject *read_reference(Reader *r) noexcept:
    cdef const unsigned char *p = r.data + r.pos
    cdef Py_ssize_t count, index
    cdef PyObject *made
    cdef PyObject *node
    if r.size - r.pos < 3:
        return NULL
    count = u16(p + 1)
    r.pos += 3
    if not 1 <= count <= 5:
        return NULL
    node = read_node(r)
    if node == NULL:
        return NULL
    if r.size - r.pos < 4 + 4 * count:
        Py_DECREF(node)
        return NULL
    p = r.data + r.pos
    r.pos += 4 + 4 * count
    made = PyType_GenericAlloc(reference_type, 0)
    if made == NULL:
        Py_DECREF(node)
        return NULL
    r.tracked = True
    if (
        set_slot(made, reference_slots[0], node)
        and set_slot(made, reference_slots[1], PyLong_FromUnsignedLongLong(u32(p)))
        and set_slot(made, reference_slots[2], read_words(p + 4, count))
    ):
        return made
    Py_DECREF(made)
    return NULL


cdef PyObject *read_words(const unsigned char *p, Py_ssize_t count) noexcept:
    cdef PyObject *words = PyTuple_New(count)
    cdef PyObject *word
    cdef Py_ssize_t index
    if words == NULL:
        return NULL
    for index in range(count):
        word = PyLong_FromUnsignedLongLong(u32(p + 4 * index))
        if word == NULL:
            Py_DECREF(words)
            return NULL
        PyTuple_SET_ITEM(words, index, word)
    PyObject_GC_UnTrack(words)
    return words
