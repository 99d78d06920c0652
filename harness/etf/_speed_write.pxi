# Writing containers, pids and references. While a container is written its items may call Python code, which may
# change it: what is written is what it was at the beginning.


cdef Py_ssize_t LENGTH_MAX = 0xFFFFFFFF


cdef bint write_tuple(Writer *w, PyObject *value, int depth) noexcept:
    cdef Py_ssize_t count = PyTuple_GET_SIZE(value)
    cdef Py_ssize_t index
    if count > LENGTH_MAX:
        return write_rare(w, value, w.at - w.start, depth)
    if not room(w, 5):
        return False
    if count < 256:
        w.at[0] = SMALL_TUPLE
        w.at[1] = <unsigned char>count
        w.at += 2
    else:
        head_u32(w, LARGE_TUPLE, <uint32_t>count)
    for index in range(count):
        if not write(w, PyTuple_GET_ITEM(value, index), depth + 1):
            return False
    return True


cdef bint write_list(Writer *w, PyObject *value, int depth) noexcept:
    cdef Py_ssize_t count = PyList_GET_SIZE(value)
    cdef Py_ssize_t index
    cdef PyObject *items
    cdef bint done = True
    if count == 0:
        return write_raw(w, "j", 1)
    if count > LENGTH_MAX:
        return write_rare(w, value, w.at - w.start, depth)
    if count < 65536 and Py_TYPE(PyList_GET_ITEM(value, 0)) == &PyLong_Type:
        if not room(w, 3 + count):
            return False
        if write_string(w, value, count):
            return True
    if not room(w, 5):
        return False
    items = PyList_AsTuple(value)
    if items == NULL:
        return False
    head_u32(w, LIST, <uint32_t>count)
    for index in range(count):
        if not write(w, PyTuple_GET_ITEM(items, index), depth + 1):
            done = False
            break
    Py_DECREF(items)
    return done and write_raw(w, "j", 1)


cdef bint write_string(Writer *w, PyObject *value, Py_ssize_t count) noexcept:
    """A list of bytes as STRING_EXT, in the room made; false, and nothing written, for another list."""
    cdef Py_ssize_t index
    cdef PyObject *item
    cdef long long number
    cdef int overflow
    for index in range(count):
        item = PyList_GET_ITEM(value, index)
        if Py_TYPE(item) != &PyLong_Type:
            return False
        number = PyLong_AsLongLongAndOverflow(item, &overflow)
        if overflow or not 0 <= number <= 255:
            return False
        w.at[3 + index] = <unsigned char>number
    head_u16(w, STRING, <uint32_t>count)
    w.at += count
    return True


cdef bint write_dict(Writer *w, PyObject *value, int depth) noexcept:
    cdef PyObject *pairs = PyDict_Copy(value)
    cdef PyObject *seen = NULL
    cdef bint done
    if pairs == NULL:
        return False
    if PyDict_Size(pairs) > LENGTH_MAX:
        done = write_rare(w, pairs, w.at - w.start, depth)
        Py_DECREF(pairs)
        return done
    if not apart(pairs):
        seen = PySet_New(NULL)
        if seen == NULL:
            Py_DECREF(pairs)
            return False
    done = write_pairs(w, pairs, seen, depth)
    Py_DECREF(pairs)
    Py_XDECREF(seen)
    return done


cdef bint apart(PyObject *pairs) noexcept:
    """Whether the types of the keys tell that no two become one term: the rule of `_map` in encode.py."""
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t texts = 0
    cdef PyObject *key
    cdef PyTypeObject *kind
    while PyDict_Next(pairs, &place, &key, NULL):
        kind = Py_TYPE(key)
        if kind == &PyUnicode_Type:
            texts += 1
        elif kind != atom_type and kind != &PyBytes_Type and kind != &PyLong_Type and kind != &PyFloat_Type:
            return False
    return texts == 0 or texts == PyDict_Size(pairs)


cdef bint write_pairs(Writer *w, PyObject *pairs, PyObject *seen, int depth) noexcept:
    """`seen`: a set for the bytes of the keys, or NULL."""
    cdef Py_ssize_t count = PyDict_Size(pairs)
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t before
    cdef PyObject *key
    cdef PyObject *item
    if not room(w, 5):
        return False
    head_u32(w, MAP, <uint32_t>count)
    while PyDict_Next(pairs, &place, &key, &item):
        before = w.at - w.start
        if not write(w, key, depth + 1):
            return False
        if seen != NULL and not add_bytes(seen, w, before):
            return False
        if not write(w, item, depth + 1):
            return False
    if seen != NULL and PySet_Size(seen) != count:
        raise_twice()
        return False
    return True


cdef bint add_bytes(PyObject *seen, Writer *w, Py_ssize_t before) noexcept:
    """What has been written since `before`."""
    cdef PyObject *raw = PyBytes_FromStringAndSize(<const char *>w.start + before, w.at - w.start - before)
    cdef bint done
    if raw == NULL:
        return False
    done = PySet_Add(seen, raw) == 0
    Py_DECREF(raw)
    return done


cdef void raise_twice() noexcept:
    cdef PyObject *error = PyObject_CallFunctionObjArgs(<PyObject *>twice_function, NULL)
    if error != NULL:
        PyErr_SetObject(<PyObject *>Py_TYPE(error), error)
        Py_DECREF(error)


cdef object twice_function = twice


# --- identifiers -------------------------------------------------------------------------------------------------------


cdef inline PyObject *get_slot(PyObject *value, PyObject *slot) noexcept:
    return Py_TYPE(slot).tp_descr_get(slot, value, <PyObject *>Py_TYPE(value))


cdef bint write_node(Writer *w, PyObject *value, PyObject *slot) noexcept:
    cdef PyObject *node = get_slot(value, slot)
    cdef bint done
    if node == NULL:
        return False
    done = (Py_TYPE(node) == atom_type or Py_TYPE(node) == &PyUnicode_Type) and write_atom(w, node)
    Py_DECREF(node)
    return done


cdef bint write_word(Writer *w, PyObject *word) noexcept:
    """32 bits; takes the reference to `word`, which may be NULL."""
    cdef long long number = -1
    cdef int overflow
    if word == NULL:
        return False
    if Py_TYPE(word) == &PyLong_Type:
        number = PyLong_AsLongLongAndOverflow(word, &overflow)
    Py_DECREF(word)
    if not 0 <= number <= 0xFFFFFFFFLL or not room(w, 4):
        return False
    put_u32(w.at, <uint32_t>number)
    w.at += 4
    return True


cdef bint write_pid(Writer *w, PyObject *value) noexcept:
    cdef int index
    if not write_raw(w, "X", 1) or not write_node(w, value, pid_slots[0]):
        return False
    for index in range(1, 4):
        if not write_word(w, get_slot(value, pid_slots[index])):
            return False
    return True


cdef bint write_reference(Writer *w, PyObject *value) noexcept:
    cdef PyObject *words = get_slot(value, reference_slots[2])
    cdef Py_ssize_t index, count
    cdef bint done = False
    if words == NULL:
        return False
    if Py_TYPE(words) == &PyTuple_Type and 1 <= PyTuple_GET_SIZE(words) <= 5 and room(w, 3):
        count = PyTuple_GET_SIZE(words)
        head_u16(w, NEWER_REFERENCE, <uint32_t>count)
        done = write_node(w, value, reference_slots[0]) and write_word(w, get_slot(value, reference_slots[1]))
        for index in range(count):
            if done:
                Py_INCREF(PyTuple_GET_ITEM(words, index))
                done = write_word(w, PyTuple_GET_ITEM(words, index))
    Py_DECREF(words)
    return done
