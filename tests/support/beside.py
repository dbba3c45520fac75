"""A thread that looks at something beside what is tested."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class Beside:
    """Runs `watch` in a thread for as long as the block lasts; `watch` returns soon after `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join(20)

    def watch(self) -> None:
        """What the thread does."""
        raise NotImplementedError
