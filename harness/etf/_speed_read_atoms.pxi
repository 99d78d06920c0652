# Reading atoms: those met lately are known by their bytes, no object is made to look them up.

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
