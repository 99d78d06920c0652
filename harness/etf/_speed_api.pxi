# What both directions use of CPython's C interface, and the Python objects they share.

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from harness.etf.terms import Atom, Pid, Reference, list_of

cdef extern from "Python.h":
    ctypedef struct PyObject:
        pass
    ctypedef int (*descrsetfunc)(PyObject *, PyObject *, PyObject *) noexcept
    ctypedef PyObject *(*descrgetfunc)(PyObject *, PyObject *, PyObject *) noexcept
    ctypedef struct PyTypeObject:
        descrsetfunc tp_descr_set
        descrgetfunc tp_descr_get
    PyTypeObject PyBytes_Type, PyDict_Type, PyFloat_Type, PyList_Type, PyLong_Type, PyTuple_Type
    PyTypeObject PyUnicode_Type
    PyObject *Py_None
    PyObject *Py_True
    PyObject *Py_False
    PyObject *PyExc_Exception
    PyObject *PyExc_TypeError
    PyObject *PyExc_RecursionError

    PyTypeObject *Py_TYPE(PyObject *)
    void Py_INCREF(PyObject *)
    void Py_DECREF(PyObject *)
    void Py_XDECREF(PyObject *)
    PyObject *PyErr_Occurred()
    int PyErr_ExceptionMatches(PyObject *)
    void PyErr_SetObject(PyObject *, PyObject *)
    void PyErr_Clear()

    PyObject *PyObject_Call(PyObject *, PyObject *, PyObject *)
    PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...)
    PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t)
    void PyObject_GC_UnTrack(void *)

    PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t)
    char *PyBytes_AS_STRING(PyObject *)
    Py_ssize_t PyBytes_GET_SIZE(PyObject *)
    int _PyBytes_Resize(PyObject **, Py_ssize_t)
    PyObject *PyFloat_FromDouble(double)
    double PyFloat_AS_DOUBLE(PyObject *)
    PyObject *PyLong_FromLong(long)
    PyObject *PyLong_FromLongLong(long long)
    PyObject *PyLong_FromUnsignedLongLong(unsigned long long)
    PyObject *PyLong_FromSsize_t(Py_ssize_t)
    Py_ssize_t PyLong_AsSsize_t(PyObject *)
    long long PyLong_AsLongLongAndOverflow(PyObject *, int *)
    PyObject *PyNumber_Negative(PyObject *)
    const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    int PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(PyObject *)
    unsigned char *PyUnicode_1BYTE_DATA(PyObject *)

    PyObject *PyTuple_New(Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    void PyTuple_SET_ITEM(PyObject *, Py_ssize_t, PyObject *)
    PyObject *PyList_New(Py_ssize_t)
    Py_ssize_t PyList_GET_SIZE(PyObject *)
    PyObject *PyList_GET_ITEM(PyObject *, Py_ssize_t)
    void PyList_SET_ITEM(PyObject *, Py_ssize_t, PyObject *)
    int PyList_Append(PyObject *, PyObject *)
    PyObject *PyList_AsTuple(PyObject *)
    PyObject *PyDict_New()
    PyObject *PyDict_Copy(PyObject *)
    PyObject *PySet_New(PyObject *)
    int PySet_Add(PyObject *, PyObject *)
    Py_ssize_t PySet_Size(PyObject *)
    Py_ssize_t PyDict_Size(PyObject *)
    PyObject *PyDict_SetDefault(PyObject *, PyObject *, PyObject *)
    int PyDict_Next(PyObject *, Py_ssize_t *, PyObject **, PyObject **)

cdef extern from *:
    """
    /* An exception is set already: make Cython see it. */
    static int harness_raise(void) { return -1; }
    """
    int harness_raise() except -1

# C recurses this deep and no deeper, here and in the hashes of keys: some 150 kB of stack.
cdef int MAX_DEPTH = 256

cdef enum Tag:
    NEW_FLOAT = 70
    ATOM_CACHE_REF = 82
    NEW_PID = 88
    NEWER_REFERENCE = 90
    SMALL_INTEGER = 97
    INTEGER = 98
    ATOM = 100
    SMALL_TUPLE = 104
    LARGE_TUPLE = 105
    NIL = 106
    STRING = 107
    LIST = 108
    BINARY = 109
    SMALL_BIG = 110
    LARGE_BIG = 111
    MAP = 116
    ATOM_UTF8 = 118
    SMALL_ATOM_UTF8 = 119

# Objects of this module: nobody can take them away.
cdef object _atom = Atom, _pid = Pid, _reference = Reference
cdef PyTypeObject *atom_type = <PyTypeObject *>_atom
cdef PyTypeObject *pid_type = <PyTypeObject *>_pid
cdef PyTypeObject *reference_type = <PyTypeObject *>_reference

cdef tuple _slots

# The slots of frozen dataclasses, by their descriptors: neither __init__ nor __setattr__ is called.
try:
    _slots = (Pid.node, Pid.id, Pid.serial, Pid.creation, Reference.node, Reference.creation, Reference.ids)
    if not all(type(slot).__name__ == "member_descriptor" for slot in _slots):
        raise AttributeError("a slot is not a plain one")
except AttributeError as error:  # other sources than this was compiled for
    raise ImportError(f"harness.etf._speed is out of date: {error}") from None
cdef PyObject *pid_slots[4]
cdef PyObject *reference_slots[3]
cdef int _index
cdef object _slot
for _index in range(7):
    _slot = _slots[_index]
    if _index < 4:
        pid_slots[_index] = <PyObject *>_slot
    else:
        reference_slots[_index - 4] = <PyObject *>_slot


cdef inline bint set_slot(PyObject *made, PyObject *slot, PyObject *value) noexcept:
    """Give `value` to `made`, and with it the caller's reference; false if there is no value."""
    cdef int done
    if value == NULL:
        return False
    done = Py_TYPE(slot).tp_descr_set(slot, made, value)
    Py_DECREF(value)
    return done == 0
