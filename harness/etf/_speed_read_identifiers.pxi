# Reading integers beyond 32 bits, pids and references.


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
