# cython: language_level=3
"""`harness.dist.inbox` at C speed: the same Call, Inbox and splice."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from harness.dist.protocol.framing import Deframer

cdef enum:
    REPLY = 1
    DOWN = 2
    DOWN_HEAD_SIZE = 7

cdef const char *DOWN_HEAD = b"p\x83h\4a\x1cX"


cdef class Call:
    cdef public bytes frame
    cdef public int kind
    cdef public object packet
    cdef public Py_ssize_t offset
    cdef public bint done
    cdef public bint unsent
    cdef public object waiter

    def __init__(self, bytes frame not None):
        self.frame = frame


cdef class Inbox:
    cdef public bytes reply_prefix
    cdef public bytes spawned_prefix
    cdef public Py_ssize_t spawned_pid_at
    cdef public bytes down_middle
    cdef public Py_ssize_t down_middle_at
    cdef public list others
    cdef object deframer
    cdef bint partial  # the deframer holds the beginning of a packet

    def __init__(self):
        self.reply_prefix = self.spawned_prefix = self.down_middle = b"\0"
        self.others = []
        self.deframer = Deframer()

    def receive(self, bytes data not None, dict calls not None):
        cdef list answered = []
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t length
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(data)
        if not self.partial:
            while size - at >= 4:
                length = u32(start + at)
                if length > size - at - 4:
                    break
                self.take(start + at + 4, length, calls, answered)
                at += 4 + length
            if at == size:
                return answered
            if at:
                data = data[at:]
        for packet in self.deframer.receive(data):
            self.take(<const unsigned char *>PyBytes_AS_STRING(packet), PyBytes_GET_SIZE(packet), calls, answered)
        self.partial = self.deframer.pending
        return answered

    cdef int take(self, const unsigned char *packet, Py_ssize_t size, dict calls, list answered) except -1:
        cdef Py_ssize_t known = PyBytes_GET_SIZE(self.reply_prefix)
        cdef int kind = 0
        cdef Py_ssize_t at = 0
        cdef Call call
        if size > known + 8 and memcmp(packet, PyBytes_AS_STRING(self.reply_prefix), known) == 0:
            kind, at = REPLY, known
        elif size > DOWN_HEAD_SIZE and memcmp(packet, DOWN_HEAD, DOWN_HEAD_SIZE) == 0:
            known = PyBytes_GET_SIZE(self.down_middle)
            at = self.down_middle_at + known
            if (
                size >= at + 10
                and packet[at + 8] == 131
                and memcmp(packet + self.down_middle_at, PyBytes_AS_STRING(self.down_middle), known) == 0
            ):
                kind = DOWN
        else:
            known = PyBytes_GET_SIZE(self.spawned_prefix)
            if (
                size > self.spawned_pid_at
                and size > known
                and packet[self.spawned_pid_at] == b"X"
                and memcmp(packet, PyBytes_AS_STRING(self.spawned_prefix), known) == 0
            ):
                return 0
        if kind == 0:
            self.others.append(PyBytes_FromStringAndSize(<const char *>packet, size))
            return 0
        found = calls.pop(u64(packet + at), None)
        if found is not None:  # None: it came after its caller had given up
            call = <Call?>found
            call.kind = kind
            call.packet = PyBytes_FromStringAndSize(<const char *>packet, size)
            call.offset = at + 7 + kind
            call.done = True
            answered.append(call)
        return 0


def splice(
    bytes head not None,
    uint64_t number,
    bytes middle not None,
    bytes again,
    bytes args not None,
    bytes tail not None,
):
    cdef Py_ssize_t size = 8 + PyBytes_GET_SIZE(head) + PyBytes_GET_SIZE(middle) + PyBytes_GET_SIZE(args)
    cdef bytes made
    cdef unsigned char *at
    size += PyBytes_GET_SIZE(tail)
    if again is not None:
        size += 8 + PyBytes_GET_SIZE(again)
    if size > 0xFFFFFFFFLL:
        raise OverflowError("a packet has at most 4 GiB")
    made = PyBytes_FromStringAndSize(NULL, 4 + size)
    at = <unsigned char *>PyBytes_AS_STRING(made)
    at = put(at, <uint64_t>size, 4)
    at = copy(at, head)
    at = put(at, number, 8)
    at = copy(at, middle)
    if again is not None:
        at = put(at, number, 8)
        at = copy(at, again)
    copy(copy(at, args), tail)
    return made


cdef inline unsigned char *copy(unsigned char *at, bytes piece) noexcept:
    memcpy(at, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    return at + PyBytes_GET_SIZE(piece)


cdef inline unsigned char *put(unsigned char *at, uint64_t value, int count) noexcept:
    cdef int index
    for index in range(count):
        at[index] = (value >> (8 * (count - 1 - index))) & 0xFF
    return at + count


cdef inline uint32_t u32(const unsigned char *p) noexcept:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t u64(const unsigned char *p) noexcept:
    return (<uint64_t>u32(p) << 32) | u32(p + 4)
