"""What went wrong with TLS, in words that say what to do."""

from __future__ import annotations

import ssl

from harness.errors import HandshakeRefused


class TlsFailed(OSError):
    """TLS was refused or broken. ``reason``: see `told_of`; ``strerror`` and ``remedy`` are for people."""

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


_AUTHORITY = "both sides need certificates of one authority: see cacertfile there and the ca given here"
_OWN = "give a context that has a certificate of the node's authority: Credentials.read(FOLDER).client_context()"
_VERIFIED = {  # of the X509_V_ERR_* codes those that happen to people
    9: ("tls_expired", "the node's certificate is not valid yet", "see the clocks of both machines"),
    10: ("tls_expired", "the node's certificate has expired", "issue a new one"),
    18: ("tls_authority", "the node's certificate is self-signed", _AUTHORITY),
    19: ("tls_authority", "the node's certificate is of an authority that is not trusted here", _AUTHORITY),
    20: ("tls_authority", "the node's certificate is of an authority that is not trusted here", _AUTHORITY),
    26: ("tls_purpose", "the node's certificate is not for this use", "allow serverAuth and clientAuth in it"),
}

_NO_RECORDS = (  # what OpenSSL calls bytes that are no TLS
    "WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "RECORD_TOO_SMALL",
    "UNEXPECTED_EOF_WHILE_READING",
)  # fmt: skip


def told_of(error: ssl.SSLError) -> TlsFailed:
    """In words. Reasons: tls_authority, tls_expired, tls_purpose, tls_name: we do not take the peer's certificate;
    tls_refused: it does not take ours; tls_plain: it does not speak TLS; tls: anything else.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _VERIFIED:
            return TlsFailed(*_VERIFIED[error.verify_code])
        if error.verify_code in (62, 64):  # host name, address
            remedy = "its subjectAltName must hold the host part of the node's name, and the name dialled must be its"
            return TlsFailed("tls_name", f"the node's certificate is for another host: {error.verify_message}", remedy)
        return TlsFailed("tls", f"the node's certificate is not taken: {error.verify_message}", _AUTHORITY)
    if isinstance(error, ssl.SSLEOFError):
        return plain("closed in the middle of the TLS handshake")
    reason = error.reason or str(error)
    words = reason.lower().replace("_", " ")
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS", "HANDSHAKE")):
        alert = words.partition("alert ")[2]
        if "REQUIRED" in reason:
            return TlsFailed("tls_refused", f"the node wants a certificate and none was given: {alert}", _OWN)
        if "HANDSHAKE" in reason:  # what TLS 1.2 has for a missing certificate, among others
            cause = f"the node ends the TLS handshake: {alert}: most likely it wants a certificate and none was given"
            return TlsFailed("tls_refused", cause, _OWN)
        remedy = "issue a new one" if "EXPIRED" in reason else _AUTHORITY
        return TlsFailed("tls_refused", f"the node does not take our certificate: {alert}", remedy)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TlsFailed("tls_refused", "the peer shows no certificate", _AUTHORITY)
    if reason in _NO_RECORDS:
        return plain(f"the node does not speak TLS here: {words}")
    return TlsFailed("tls", words, "the node's log may say more")


def plain(cause: str) -> TlsFailed:
    return TlsFailed("tls_plain", cause, "does it run with -proto_dist inet_tls, and is this its distribution port?")
