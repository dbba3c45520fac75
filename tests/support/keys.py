"""An authority and certificates for tests of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_keys(folder: Path) -> Path:
    """`authority` signs `server` and `client`, both for 127.0.0.1; `stranger` signs nothing. PEM files in `folder`."""
    for name in ("authority", "stranger"):
        _openssl(
            folder, f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        )
    for name in ("server", "client"):
        _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            folder,
            f"x509 -req -in {name}.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2"
            f" -extfile {name}.ext -out {name}.pem",
        )
    return folder


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
