# Reading tuples, lists and maps.

from harness.etf.decode import build_map


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
    while r.size - r.pos >= 5 and r.data[r.pos] == LIST:  # a tail: the same list goes on
        count = u32(r.data + r.pos + 1)
        r.pos += 5
        if not enter(r, depth, count + 1 + owed) or not append_items(r, made, count, depth, owed):
            Py_DECREF(made)
            return NULL
    if r.pos < r.size and r.data[r.pos] == NIL and r.containers > 0:
        r.pos += 1
        r.containers -= 1
        return made
    item = read(r, depth + 1, owed)
    if item == NULL:
        Py_DECREF(made)
        return NULL
    r.tracked = True
    return joined(made, item)


cdef bint append_items(Reader *r, PyObject *made, Py_ssize_t count, int depth, Py_ssize_t owed) noexcept:
    cdef PyObject *item
    cdef Py_ssize_t index
    cdef bint done
    for index in range(count):
        item = read(r, depth + 1, owed + count - index)
        if item == NULL:
            return False
        done = PyList_Append(made, item) == 0
        Py_DECREF(item)
        if not done:
            return False
    r.tracked = True
    return True


cdef PyObject *joined(PyObject *items, PyObject *tail) noexcept:
    """A list whose tail is not written as nil; takes both references."""
    cdef PyObject *made = PyObject_CallFunctionObjArgs(<PyObject *>join_function, items, tail, NULL)
    Py_DECREF(items)
    Py_DECREF(tail)
    return made


cdef object join_function = list_of


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
