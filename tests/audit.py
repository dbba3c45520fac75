"""`make audit`: whether a package of the lock files has a known hole. Exit code 1: one has; 2: not all were audited.

pip-audit exits with 0 when it could audit nothing. So what it says is counted: as many packages, with the very
versions, as the lock file has for this machine, or the audit has failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OPTIONS = ("--strict", "--require-hashes", "--disable-pip", "--progress-spinner=off", "--timeout=15", "--format=json")
PATIENCE = 600
"""Seconds for one lock file."""


class NotAudited(Exception):
    """Nothing is known of some packages, or of all: that is no good news."""


def locked(lock: Path) -> dict[str, str]:
    """The packages of a lock file that this machine would install, with their versions."""
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    words = (line.partition(" --hash")[0].partition(" #")[0].strip() for line in lines)
    wanted = [Requirement(each) for each in words if each and not each.startswith(("#", "-"))]
    here = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in here}


def audit(program: str, lock: Path) -> list[str]:
    """The known holes in the packages of a lock file, in words. Raises NotAudited."""
    expected = locked(lock)
    if not expected:
        raise NotAudited(f"{lock} names no package")
    try:
        done = subprocess.run(
            [program, *OPTIONS, "--requirement", str(lock)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        report: Any = json.loads(done.stdout)
        found: dict[str, Any] = {canonicalize_name(each["name"]): each for each in report["dependencies"]}
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAudited(f"{lock}: {program} did not run: {error}") from None
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise NotAudited(f"{lock}: pip-audit gave no report (exit code {done.returncode}): {lines[-1]}") from None
    if missing := sorted(name for name, version in expected.items() if found.get(name, {}).get("version") != version):
        raise NotAudited(f"{lock}: {len(missing)} of {len(expected)} packages were not audited: {', '.join(missing)}")
    holes = [f"{name} {each['version']}: {hole['id']}" for name, each in found.items() for hole in each["vulns"]]
    if done.returncode and not holes:
        raise NotAudited(f"{lock}: pip-audit failed with exit code {done.returncode}")
    return sorted(holes)


def main(words: Sequence[str]) -> int:
    """Audit the lock files that are named behind the program."""
    program, *locks = words
    code = 0
    for lock in map(Path, locks):
        try:
            holes = audit(program, lock)
        except NotAudited as error:
            print(f"NOT AUDITED: {error}. Is there internet?", file=sys.stderr)
            code = 2
            continue
        print(f"{lock}: {len(locked(lock))} packages audited, {len(holes)} known holes")
        for hole in holes:
            print(f"  {hole}")
        code = code or bool(holes)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
