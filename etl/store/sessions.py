"""Sessions, and the gaps that follow from them."""
from __future__ import annotations
from collections.abc import Sequence
from datetime import timedelta
from etl.calls.coverage import SessionState
from etl.store.database import Cursor
def store(cursor: Cursor, states: Sequence[SessionState], margin: timedelta) -> None:
    raise NotImplementedError
