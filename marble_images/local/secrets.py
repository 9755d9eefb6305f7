"""The secrets of one local stack: generated once, kept in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_FILE = "secrets.json"


@dataclass(frozen=True, repr=False)
class StackSecrets:
    """What the stand-ins check and their callers show.

    Attributes
    ----------
    api_key
        AppSync's API key.
    admin_key
        Key of the admin endpoint.
    curate_token
        Curate's API token; Curate asks for it only when told to.
    private_key
        The Google service account's RSA key (PEM).
    """

    api_key: str
    admin_key: str
    curate_token: str
    private_key: str

    @property
    def public_key(self) -> str:
        """The public half of the service account's key (PEM)."""
        key = serialization.load_pem_private_key(self.private_key.encode(), password=None)
        encoded = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return encoded.decode()

    @classmethod
    def load(cls, folder: Path) -> StackSecrets:
        """Read the secrets of a stack's folder.

        Raises
        ------
        OSError, ValueError, TypeError
            There are none, or the file is damaged.
        """
        return cls(**json.loads((folder / _FILE).read_text()))

    @classmethod
    def load_or_make(cls, folder: Path) -> StackSecrets:
        """Read the secrets of a stack's folder, or make them."""
        try:
            return cls.load(folder)
        except (OSError, ValueError, TypeError):
            made = cls._make()
            write_private(folder / _FILE, json.dumps(asdict(made), indent=2))
            return made

    @classmethod
    def _make(cls) -> StackSecrets:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(
            api_key=f"da2-{secrets.token_hex(13)}",
            admin_key=secrets.token_urlsafe(24),
            curate_token=secrets.token_urlsafe(24),
            private_key=pem.decode(),
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
    fresh.replace(path)
