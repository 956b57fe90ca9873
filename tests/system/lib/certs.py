# SPDX-License-Identifier: Apache-2.0
"""A throw-away certificate authority for the receivers of the tests.

Made once a session, in the session's temporary folder; nothing is kept."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa as rsa_keys
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class CA:
    """ca.pem, and server certificates signed by it as (cert_file, key_file)."""
    day = DAY

    def __init__(self, folder, life=DAY, start=None):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("ringback test CA")
        self.pem = folder / "ca.pem"
        builder = self._builder(self.name, self.key.public_key(), life, start)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(x509.KeyUsage(False, False, False, False, False, True, True,
                                                      False, False), critical=True)
        cert = builder.sign(self.key, hashes.SHA256())
        self.pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, public_key, life, start=None, own=None):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(subject if own else self.name)
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(now + start if start else min(now, now + life) - DAY).not_valid_after(now + life)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    (own or self.key).public_key()), critical=False))

    def issue(self, label, names=("127.0.0.1", "::1", "receiver.test"), life=DAY, start=None, rsa=0, sha1=False,
              own=False, asks=None,
              subject=None, as_text=False, client=False):
        """`start`: valid from then on; `rsa`: a key of so many bits; `own`: signed by itself;
        `asks`: an URL where one could ask whether it is revoked; `subject`: the common name;
        `as_text`: addresses stand as names; `client`: for clients, not for servers."""
        key = (rsa_keys.generate_private_key(public_exponent=65537, key_size=rsa) if rsa
               else ec.generate_private_key(ec.SECP256R1()))
        alt = []
        for n in names:
            try:
                address = ipaddress.ip_address(n)
                alt.append(x509.DNSName(n) if as_text else x509.IPAddress(address))
            except ValueError:
                alt.append(x509.DNSName(n))
        builder = self._builder(_name(subject or label), key.public_key(), life, start, key if own else None)
        if alt:
            builder = builder.add_extension(x509.SubjectAlternativeName(alt), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if asks:
            point = [x509.UniformResourceIdentifier(asks)]
            builder = builder.add_extension(x509.CRLDistributionPoints(
                [x509.DistributionPoint(point, None, None, None)]), critical=False)
            builder = builder.add_extension(x509.AuthorityInformationAccess(
                [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, point[0])]), critical=False)
        cert = builder.sign(key if own else self.key, hashes.SHA1() if sha1 else hashes.SHA256())
        cert_file, key_file = self.folder / f"{label}.crt", self.folder / f"{label}.key"
        cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(_key_pem(key))
        key_file.chmod(0o600)
        return cert_file, key_file
