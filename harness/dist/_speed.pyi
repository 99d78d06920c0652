from harness.dist.inbox import Call as Call
from harness.dist.inbox import Inbox as Inbox

def splice(head: bytes, number: int, middle: bytes, again: bytes | None, args: bytes, tail: bytes) -> bytes: ...
