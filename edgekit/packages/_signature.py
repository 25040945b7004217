"""Signatures of packages: Ed25519 (RFC 8032), detached, in ``<package>.sig`` beside the package.

What is signed is one line of text that names the package's sha256, so that a signature of a folder
is made as one of a file.  Keys are PEM files as ``openssl genpkey -algorithm ed25519`` writes them.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, UsageError, VerdictError
from edgekit.formats import missing
from edgekit.hashing import sha256_of

SCHEMA_VERSION = 1
_KEYS = {"schema_version", "algorithm", "sha256", "public_key", "signature"}


def signature_of(package: Path) -> Path:
    """Return where the signature of a package lies."""
    return package.with_name(package.name + ".sig")


def sign(package: Path, key: Path) -> None:
    """Write the signature of a package.

    Raises:
        UsageError: the key is no private Ed25519 key in PEM.
        UnavailableError: cryptography is not installed.
    """
    private = load_private(key)
    sha256 = sha256_of(package)
    record = {
        "schema_version": SCHEMA_VERSION,
        "algorithm": "ed25519",
        "sha256": sha256,
        "public_key": _encoded(private.public_key().public_bytes_raw()),
        "signature": _encoded(private.sign(_statement(sha256))),
    }
    signature_of(package).write_text(json.dumps(record, indent=1) + "\n")


def check(package: Path, trusted: Path | None) -> str:
    """Check the signature beside a package.

    Args:
        package: The package.
        trusted: A public key in PEM that must have signed it; None to accept any key, or none.

    Returns:
        The key that signed it, in base64; empty when there is no signature and none is asked for.

    Raises:
        VerdictError: there is no signature, and `trusted` asks for one; or another key signed it.
        ArtifactError: the signature is damaged, or is not one of this package.
    """
    place = signature_of(package)
    wanted = _encoded(_load(trusted, "public").public_bytes_raw()) if trusted is not None else None
    if not place.is_file():
        if wanted is not None:
            raise VerdictError(f"{package} has no signature {place.name}.")
        return ""
    record = _read(place)
    public = _public(record, place)
    if record["sha256"] != sha256_of(package):
        raise ArtifactError(f"{place.name} is the signature of another package.")
    _verify(public, record, place)
    if wanted is not None and record["public_key"] != wanted:
        raise VerdictError(f"{package} was signed by another key: {record['public_key']}.")
    return str(record["public_key"])


def load_private(path: Path) -> Any:
    """Return a private key.

    Raises:
        UsageError: the file holds none.
        UnavailableError: cryptography is not installed.
    """
    return _load(path, "private")


def _load(path: Path, kind: str) -> Any:
    reason = missing(("cryptography",), "Signing", "package")
    if reason is not None:
        raise reason
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    try:
        content = path.read_bytes()
        if kind == "private":
            key: Any = serialization.load_pem_private_key(content, password=None)
        else:
            key = serialization.load_pem_public_key(content)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        raise UsageError(
            f"{path} holds no {kind} Ed25519 key in PEM.",
            "openssl genpkey -algorithm ed25519 -out key.pem makes a private one, and "
            "openssl pkey -in key.pem -pubout its public one.",
        )
    return key


def _read(place: Path) -> dict[str, Any]:
    try:
        record = json.loads(place.read_bytes())
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or set(record) != _KEYS or record["algorithm"] != "ed25519":
        raise ArtifactError(f"{place.name} is not a signature that edgekit wrote.")
    return record


def _public(record: dict[str, Any], place: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(record["public_key"]))
    except (ValueError, TypeError):
        raise ArtifactError(f"{place.name} holds no Ed25519 key.") from None


def _verify(public: Any, record: dict[str, Any], place: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(base64.b64decode(record["signature"]), _statement(record["sha256"]))
    except (InvalidSignature, ValueError, TypeError):
        raise ArtifactError(f"{place.name} was not made by the key that it names.") from None


def _statement(sha256: str) -> bytes:
    return f"edgekit package {sha256}\n".encode()


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
