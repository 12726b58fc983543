"""Certificates for one deployment: an ephemeral authority, and one identity per server.

The coordinator creates an `Authority`, issues an `Identity` per server and forgets the authority. A
certificate names its server's address as the URI `wwfl:<address>`; addresses such as "3pc/0" are no
host names, so the host name check of TLS is replaced by `certified_address`."""

from __future__ import annotations

import datetime
import os
import secrets
import ssl
import tempfile
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wwfl_core.errors import Misuse, PeerLost

_SCHEME: Final = "wwfl:"
# Clocks of different machines disagree; certificates are valid from a little before now.
_CLOCK_SKEW: Final = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Identity:
    """What a server needs to prove its address and to check others. Picklable; the key is
    secret."""

    address: str
    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    def context(self, *, server: bool) -> ssl.SSLContext:
        """A TLS 1.3 context that proves this identity and accepts only peers of the same
        authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.ca.decode("ascii"))
        if server:
            # Connections are never resumed, and a ticket would be unread data in the dialer's
            # buffer, which turns its orderly close into a reset that destroys what it sent last.
            context.num_tickets = 0
        self._load_chain(context)
        return context

    def _load_chain(self, context: ssl.SSLContext) -> None:
        # The ssl module reads keys from files only, so the file holds the key under a one-time
        # password.
        password = secrets.token_bytes(32).hex().encode()
        key = serialization.load_pem_private_key(self.key, None)
        sealed = _pem(key, serialization.BestAvailableEncryption(password))
        handle, path = tempfile.mkstemp(suffix=".pem")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.certificate + sealed)
            context.load_cert_chain(path, password=password)
        finally:
            os.unlink(path)


class Authority:
    """An ephemeral certificate authority. Its key exists only in this object."""

    def __init__(self, *, valid_days: float = 7) -> None:
        if not valid_days > 0:
            raise Misuse(f"Authority: valid_days is {valid_days}; give a number of days > 0")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._from = datetime.datetime.now(datetime.UTC) - _CLOCK_SKEW
        self._until = self._from + _CLOCK_SKEW + datetime.timedelta(days=valid_days)
        self._name = _name(f"wwfl authority {secrets.token_hex(8)}")
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, address: str) -> Identity:
        """A new key and a certificate that names `address`."""
        if not (address and address.isascii() and address.isprintable()) or " " in address:
            raise Misuse(f"cannot certify address {address!r}: use printable ASCII without spaces")
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_SCHEME + address)])
        certificate = (
            self._builder(_name("wwfl server"), key.public_key())
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign=True), critical=True)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(
            address,
            self._certificate.public_bytes(serialization.Encoding.PEM),
            certificate.public_bytes(serialization.Encoding.PEM),
            _pem(key, serialization.NoEncryption()),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
        )


def certified_address(sock: ssl.SSLSocket) -> str:
    """The address that the verified certificate of the peer names, after the handshake."""
    certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    names = [
        value[len(_SCHEME) :]
        for kind, value in certificate.get("subjectAltName", ())
        if kind == "URI" and value.startswith(_SCHEME)
    ]
    if len(names) != 1:
        raise PeerLost(
            f"the peer's certificate names {names or 'no address'}; issue one for one address"
        )
    return names[0]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: Any, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _key_usage(*, sign: bool) -> x509.KeyUsage:
    """Signing handshakes for servers, signing certificates for the authority, nothing else."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
