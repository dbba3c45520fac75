"""The real command with its configuration, as in the tests of the command line; and what an attacker brings."""

from __future__ import annotations

from cli.conftest import Cdr, cdr, configure, free_port, guarded, public_folder, secret, simulated

__all__ = ["Cdr", "cdr", "configure", "free_port", "guarded", "public_folder", "secret", "simulated"]
