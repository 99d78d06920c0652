"""Distribution over TLS (guide chapter Using TLS for Erlang Distribution): a Stream inside a Stream.

TLS comes first, whole; the ordinary handshake follows inside it, with 4-byte lengths, and after it the ordinary
packets. Both sides show a certificate, and the one who dials looks for the host part of the node's name in the
other's.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.dist.runtime import Lock, Runtime, Stream
from harness.errors import HandshakeRefused, NotSent, UsageError

HEADER = 4
"""Bytes of the length before a message of the distribution handshake inside TLS."""

_RECORD = 1 << 14  # the most that one TLS record holds, and so the most that one read gives
_RECEIVE = 1 << 18
_SEALED = 1 << 18  # bytes encrypted at a time: what waits for the socket stays small beside what is sent
_FAREWELL = 0.2  # s that a close may spend on telling the peer


class TlsFailed(OSError):
    """TLS was refused or broken. ``reason``: see `_told`; ``strerror`` and ``remedy`` are for people."""

    def __init__(self, reason: str, cause: str, remedy: str = "") -> None:
        super().__init__(None, cause)
        self.strerror = cause
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return str(self.strerror)

    def refused(self, peer: str) -> HandshakeRefused:
        """As the error of whoever dialled `peer` (or was dialled by it)."""
        return HandshakeRefused("tls", self.reason, str(self.strerror), self.remedy, node=peer)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are and whom we trust, in PEM: the authority's certificate, our own, our private key.

    As a folder: ``ca.pem``, ``cert.pem``, ``key.pem``.
    """

    ca: str
    cert: str
    key: str = field(repr=False)

    @classmethod
    def read(cls, folder: str | Path) -> Credentials:
        """Raises UsageError."""
        try:
            return cls(*((Path(folder) / f"{name}.pem").read_text() for name in ("ca", "cert", "key")))
        except (OSError, UnicodeDecodeError) as error:
            remedy = "name a folder with ca.pem, cert.pem and key.pem"
            raise UsageError("tls", f"{folder}: {error}", remedy) from error

    @classmethod
    def given(cls, text: str) -> Credentials:
        """From an environment variable: what `told` made, or the name of a folder. Raises UsageError."""
        return cls(**json.loads(text)) if text.startswith("{") else cls.read(text)

    def told(self) -> str:
        """For an environment variable, where no file is to hold the key."""
        return json.dumps(asdict(self))

    def client_context(self, *, check_name: bool = True) -> ssl.SSLContext:
        """For dialling. ``check_name``: the host part of the node's name must be in its certificate."""
        context = self._into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.check_hostname = check_name
        return context

    def server_context(self) -> ssl.SSLContext:
        """For being dialled: whoever does must show a certificate of the same authority."""
        context = self._into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _into(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # a write would then have to wait for a read
        try:
            context.load_verify_locations(cadata=self.ca)
            with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".pem") as file:  # 0600, gone right after
                file.write(f"{self.key}\n{self.cert}")
                file.flush()
                context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError("tls", f"certificates cannot be used: {error}", "is the key the certificate's?") from error
        return context


class TlsStream:
    """A Stream over `stream`: one reads while others write. ``lock`` makes the locks of the runtime it runs on.

    `handshake` first. ``server_hostname`` is what the peer's certificate must be for, unless the context does not
    check names.
    """

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str = "",
        lock: Callable[[], Lock],
    ) -> None:
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side, server_hostname or None)
        self._state = lock()  # around the three above: work in memory only, nobody holds it while he waits
        self._sending = lock()  # records leave in the order in which they were sealed
        self._young = True  # nothing was heard from the peer inside TLS
        self._closed = False
        self.settimeout: Callable[[float | None], None] = stream.settimeout

    def handshake(self, left: Callable[[], float]) -> None:
        """Until TLS stands; ``left`` tells the seconds that remain. Raises TlsFailed, TimeoutError, OSError."""
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):  # an alert: why we do not want the peer
                    self._send_sealed()
                raise _told(error) from error
            self.settimeout(left())
            self._send_sealed()
            if not done:
                self._feed(self._stream.recv(_RECEIVE))

    def recv(self, size: int, /) -> bytes:
        while True:
            try:
                data: bytes | None = self._locked(self._opened, size)
            finally:
                self._pass_on()
            if data is not None:
                self._young = False
                return data
            more = self._stream.recv(_RECEIVE)
            self._locked(self._feed, more)

    def sendall(self, data: bytes, /) -> None:
        view = memoryview(data)
        self._sending.acquire()
        try:
            for start in range(0, len(view), _SEALED):
                self._locked(self._tls.write, view[start : start + _SEALED])
                self._send_sealed()
        except ssl.SSLError as error:
            raise _told(error) from error
        except ConnectionError:
            if self._young:  # TLS 1.3: the peer looks at our certificate after we may send, and says why it leaves
                self._last_words()
            raise
        finally:
            self._sending.release()
        self._pass_on()

    def close(self) -> None:
        if not self._closed and self._sending.acquire(False):  # a write that waits is not waited for
            self._closed = True
            try:
                with contextlib.suppress(OSError, ValueError):
                    self._locked(self._say_goodbye)
                    self.settimeout(_FAREWELL)
                    self._send_sealed()
            finally:
                self._sending.release()
        self._stream.close()

    # --- under the lock of the state --------------------------------------------------------------------------------

    def _locked(self, act: Callable[..., Any], *args: Any) -> Any:
        self._state.acquire()
        try:
            return act(*args)
        finally:
            self._state.release()

    def _opened(self, size: int) -> bytes | None:
        """Data that can be read now, b"" at the end, None when more has to come first."""
        try:
            return self._tls.read(min(size, _RECORD))
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # a killed peer says no goodbye
            return b""
        except ssl.SSLError as error:
            raise _told(error) from error

    def _feed(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):  # the peer's own goodbye is not waited for
            self._tls.unwrap()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _send_sealed(self) -> None:
        while sealed := self._locked(self._out.read):
            self._stream.sendall(sealed)

    def _pass_on(self) -> None:
        """Send what reading made necessary (an alert, the answer to a KeyUpdate), unless somebody sends: he does it."""
        while self._out.pending and self._sending.acquire(False):
            try:
                self._send_sealed()
            finally:
                self._sending.release()

    def _last_words(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while self._locked(self._opened, 1) is None:
                self._locked(self._feed, self._stream.recv(_RECEIVE))


def secured(
    stream: Stream,
    context: ssl.SSLContext,
    peer: str,
    runtime: Runtime,
    left: Callable[[], float],
    *,
    server_side: bool = False,
) -> TlsStream:
    """TLS with `peer` over `stream`, standing: its certificate is one of the authority's and, where we dialled, for
    the host in its name. Raises HandshakeRefused (with a reason that begins with ``tls``), NotSent.
    """
    host = "" if server_side else peer.partition("@")[2]
    tls = TlsStream(stream, context, server_side=server_side, server_hostname=host, lock=runtime.lock)
    try:
        tls.handshake(left)
    except TlsFailed as error:
        raise error.refused(peer) from error
    except TimeoutError as error:
        remedy = "does it run with -proto_dist inet_tls? It may also be paused, overloaded or cut off"
        raise NotSent("tls", "no answer in time", remedy, node=peer) from error
    except OSError as error:
        raise _plain(f"TLS handshake: {error.strerror or error}").refused(peer) from error
    return tls


_AUTHORITY = "both sides need certificates of one authority: see cacertfile there and the ca given here"
_VERIFIED = {  # of the X509_V_ERR_* codes those that happen to people
    9: ("tls_expired", "the node's certificate is not valid yet", "see the clocks of both machines"),
    10: ("tls_expired", "the node's certificate has expired", "issue a new one"),
    18: ("tls_authority", "the node's certificate is self-signed", _AUTHORITY),
    19: ("tls_authority", "the node's certificate is of an authority that is not trusted here", _AUTHORITY),
    20: ("tls_authority", "the node's certificate is of an authority that is not trusted here", _AUTHORITY),
    26: ("tls_purpose", "the node's certificate is not for this use", "allow serverAuth and clientAuth in it"),
}


def _told(error: ssl.SSLError) -> TlsFailed:
    """In words. Reasons: tls_authority, tls_expired, tls_purpose, tls_name: we do not take the peer's certificate;
    tls_refused: it does not take ours; tls_plain: it does not speak TLS; tls: anything else.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _VERIFIED:
            return TlsFailed(*_VERIFIED[error.verify_code])
        if error.verify_code in (62, 64):  # host name, address
            remedy = "its subjectAltName must hold the host part of the node's name, and the name dialled must be its"
            return TlsFailed("tls_name", f"the node's certificate is for another host: {error.verify_message}", remedy)
        return TlsFailed("tls", f"the node's certificate is not taken: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError):
        return _plain("closed in the middle of the TLS handshake")
    reason = error.reason or str(error)
    words = reason.lower().replace("_", " ")
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS", "HANDSHAKE")):
        alert = words.partition("alert ")[2]
        return TlsFailed("tls_refused", f"the node does not take our certificate: {alert}", _AUTHORITY)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TlsFailed("tls_refused", "the peer shows no certificate", _AUTHORITY)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return _plain(f"the node does not speak TLS here: {words}")
    return TlsFailed("tls", words)


def _plain(cause: str) -> TlsFailed:
    return TlsFailed("tls_plain", cause, "does it run with -proto_dist inet_tls, and is this its distribution port?")
