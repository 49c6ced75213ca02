"""A certificate authority of the tests, and the certificates that it signs."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
_USES = "digital_signature content_commitment key_encipherment data_encipherment key_agreement encipher_only"
_SIGNS_CERTIFICATES = x509.KeyUsage(
    **dict.fromkeys(_USES.split(), False), decipher_only=False, key_cert_sign=True, crl_sign=True
)


@dataclass(frozen=True, slots=True)
class Authority:
    """``SSL_CERT_FILE=<bundle>`` makes a process trust it."""

    bundle: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def server_context(self, *names: str) -> ssl.SSLContext:
        """What a server shows that has these names or IP addresses."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server_file(*names))
        return context

    def server_file(self, *names: str) -> Path:
        """Certificate and key of such a server, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(f"server {names[0]}", self.certificate.subject, key.public_key(), self.key.public_key())
            .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file = self.bundle.with_name(f"server-{certificate.serial_number}.pem")
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return file


def make_authority(folder: Path) -> Authority:
    """A new, untrusted one; its files are in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    certificate = (
        _builder("authority of the tests", name, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle = folder / "authority.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(bundle, certificate, key)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        # From Python 3.13 on, certificates without them are refused (VERIFY_X509_STRICT).
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
