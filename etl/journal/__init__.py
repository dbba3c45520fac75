"""The local durable log of everything read from recorders; see docs/journal.md."""

from etl.journal.held import HeldJournal
from etl.journal.journal import Journal
from etl.journal.orphans import Adoption, adopt
from etl.journal.writer import Commit, Limits

__all__ = ["Adoption", "Commit", "HeldJournal", "Journal", "Limits", "adopt"]
