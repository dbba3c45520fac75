"""Erasure: what tells who spoke is gone for good, whatever arrives later, and volumes stay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID
from zlib import compress

import pytest
from support.retention import CLERK, CUTOFF, OLD, YOUNG, Archive, make

from etl.calls.ids import UNTIMED
from etl.config import Settings
from etl.errors import UsageError
from etl.fields import FIELDS, HIDDEN
from etl.ingest.interpret import Interpreter
from etl.jobs.retention import apply, erase
from etl.model import Fact, Kind, Quarantined
from etl.store import backfill, erasure, folders, holds, reconcile
from etl.store.database import Connection
from etl.store.elements import ERASED
from etl.store.explain import explain
from etl.store.folders import Mark
from etl.store.holds import Wanted
from etl.store.rebuild import rebuild
from etl.store.write import Batch

pytestmark = pytest.mark.slow


def everything(call_id: str = "a", kind: Kind = Kind.DETAIL, **more: str) -> Fact:
    """A fact with a value in every field that is erased."""
    personal: dict[str, Any] = {name: f"{name} of John" for name in HIDDEN} | {"source_name": "John"} | more
    return make(call_id, kind=kind, attributes={"note": "John"}, element=b"<Call>John</Call>", **personal, cause_id=5)


def test_nothing_personal_is_left_and_the_rest_stays(archive: Archive) -> None:
    archive.store(everything(), make("b"))
    kept = "SELECT state, start_time, cause_id, recorder, first_seen_at, quality FROM cdr.call ORDER BY call_id"
    before = archive.rows(kept)
    assert erase(archive.conn, "John", CLERK).counts["calls"] == 1
    assert archive.personal("a") == []
    assert archive.rows("SELECT element FROM cdr.fact WHERE call_id = 'a'") == [(ERASED,)]
    assert archive.rows(kept) == before
    assert archive.personal("b") != []


def test_ids_of_other_systems_are_erased_and_no_party_is_looked_for_in_them(archive: Archive) -> None:
    """They can hold a number, an address or the meeting's id; and a platform that counts its calls has the call of
    somebody else under the number of an extension."""
    ids: dict[str, Any] = {
        "native_call_id": "sip:1000@10.0.0.1",
        "native_id": "sip:1000@10.0.0.1|2",
        "platform_call_id": "meeting-7",
        "ms_conversation_id": "ann@example.com",
        "cisco_guid": "1000",
    }
    archive.store(make("a", source_caller_id="1000", meeting_id="meeting-7", **ids), make("b", **ids))
    assert erase(archive.conn, "1000", CLERK).counts["calls"] == 1
    shown = f"SELECT {', '.join(ids)} FROM cdr.call ORDER BY call_id"
    assert archive.rows(shown) == [(None,) * 5, tuple(ids.values())]


def test_the_digest_of_what_was_received_is_gone_too(archive: Archive) -> None:
    fact = everything()
    archive.store(fact)
    erase(archive.conn, "John", CLERK)
    assert archive.rows("SELECT digest FROM cdr.fact WHERE call_id = 'a'") != [(fact.digest,)]


@pytest.mark.parametrize("kind", Kind)
def test_whatever_arrives_later_is_cleared(archive: Archive, kind: Kind) -> None:
    archive.store(make("a", source_name="John"))
    erase(archive.conn, "John", CLERK)
    archive.store(everything(kind=kind))
    assert archive.personal("a") == []
    assert archive.rows("SELECT kind FROM cdr.fact WHERE kind = %s", kind.value) == [(kind.value,)]


def test_sightings_and_strangers_of_an_erased_call_are_cleared(archive: Archive) -> None:
    archive.store(make("a", kind=Kind.START, source_name="John"))
    erase(archive.conn, "John", CLERK)
    archive.writer.write(Batch(sightings=[everything(kind=Kind.LIST)], strangers=[everything(kind=Kind.HTTP)]))
    assert archive.rows("SELECT count(*) FROM cdr.fact") == [(3,)]
    assert archive.personal("a") == []


def test_what_postgresql_refuses_of_an_erased_call_is_quarantined_without_its_element(archive: Archive) -> None:
    archive.store(make("a", source_name="John"))
    erase(archive.conn, "John", CLERK)
    written = archive.store(make("a", kind=Kind.HTTP, location="\0", element=b"John"))
    assert written.refused == 1
    assert archive.rows("SELECT body FROM cdr.quarantine") == [(b"",)]


def test_the_party_is_found_in_any_fact_of_a_call_not_only_in_its_row(archive: Archive) -> None:
    archive.store(
        make("a", kind=Kind.START, source_name="John"), make("a", kind=Kind.DETAIL, source_name="Jane", element=b"x")
    )
    erase(archive.conn, "john", CLERK)
    assert archive.personal("a") == []


PARTIES: list[tuple[dict[str, Any], str, bool]] = [
    ({"source_caller_id": "1000"}, "1000", True),
    ({"destination_caller_id": "sip:1000@example.com"}, "1000", True),
    ({"destination_caller_id": "SIP:1000@Example.com"}, "sip:1000@example.COM", True),
    ({"source_caller_id": "tel:+15551234"}, "+15551234", True),
    ({"source_caller_id": "1001, 1000;1002"}, "1000", True),
    ({"source_caller_id": '"John" <sip:1000@example.com>'}, "1000", True),
    ({"recorded_extension": "1000"}, "1000", True),
    ({"dialed_extension": "1000"}, "1000", True),
    ({"agent_id": "Agent.Smith"}, "agent.smith", True),
    ({"source_name": "JOSÉ García"}, "José García", True),
    ({"destination_name": "Smith, John"}, "smith, john", True),
    ({"attributes": {"transfer": {"to": ["1000"]}}}, "1000", True),
    ({"attributes": {"who": 'O"Neil'}}, 'o"neil', True),
    ({"source_caller_id": "10001"}, "1000", False),
    ({"destination_name": "Smith, John"}, "John", True),
    ({"attributes": {"transfer": 1000}}, "1000", True),
    ({"attributes": {"to": "sip:1000@x"}}, "1000", True),
    ({"attributes": {"to": "Alice Smith, 1000"}}, "1000", True),
    ({"source_caller_id": '"Ann" <sip:1000@example.com>'}, "Ann", True),
    ({"source_caller_id": "1000/2000"}, "1000", True),
    ({"source_name": "Ann (1000)"}, "1000", True),
    ({"source_name": "Müller  Hans"}, "Müller Hans", True),
    ({"source_name": "MÜLLER Hans"}, "müller hans", True),
    ({"source_name": "Straße"}, "STRASSE", True),
    ({"source_name": "\uff21nn"}, "Ann", True),
    ({"source_ip": "10.0.0.100"}, "10.0.0.100", True),
    ({"source_device": "SEP00112233"}, "sep00112233", True),
    ({"meeting_id": "m-1"}, "m-1", True),
    ({"source_caller_id": "sip:0@example.com"}, "0", True),
    ({"source_caller_id": "0, 1000"}, "0", True),
    ({"source_name": "0"}, "0", True),
    ({"source_ip": "10.0.0.100"}, "100", False),
    ({"source_name": "Müann"}, "ann", False),
    ({"source_name": "Ann", "destination_name": "Smith"}, "Ann Smith", False),
    ({"attributes": {"x": ["Ann", "Smith"]}}, "Ann Smith", False),
    ({"attributes": {"flag": "0"}}, "0", False),
    ({"attributes": {"n": 1}}, "1", False),
    ({"attributes": {"title": "x"}}, "title", False),
    ({"attributes": {"flag": False}}, "false", False),
    ({"destination_name": "Smith"}, "sm_th", False),
    ({"source_name": "a.c"}, "abc", False),
    ({"attributes": {"length": "21000"}}, "1000", False),
]
"""What a call says, a party, and whether that is a party to the call."""


def test_a_party_is_matched_as_whole_words_of_what_can_name_one(archive: Archive) -> None:
    for stored, party, found in PARTIES:
        archive.change("DELETE FROM cdr.call; DELETE FROM cdr.fact")
        archive.store(make("a", **stored))
        assert erase(archive.conn, party, CLERK, dry_run=True).counts["calls"] == found, (stored, party)
        number = holds.hold(archive.conn, Wanted(party=party), CLERK)
        assert holds.covered(archive.conn, number) == found, (stored, party)
        holds.release(archive.conn, number, CLERK)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_document_with_a_nul_byte_stops_no_erasure(archive: Archive, dry_run: bool) -> None:
    archive.store(make("a", source_name="John"), make("b", source_name="Jane"))
    bodies = (b"\0abc", b"\0 John", b"Id=b\0")
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "garbage", body) for body in bodies]))
    archive.change("INSERT INTO cdr.erased_call (call_id) VALUES ('b')")
    assert erase(archive.conn, "John", CLERK, dry_run=dry_run).counts["documents"] == 2


def test_a_party_with_a_nul_byte_is_refused(archive: Archive) -> None:
    with pytest.raises(UsageError, match="NUL"):
        erase(archive.conn, "Jo\0hn", CLERK)
    with pytest.raises(UsageError, match="NUL"):
        holds.hold(archive.conn, Wanted(party="Jo\0hn"), CLERK)


def test_held_calls_are_left_alone_and_counted(archive: Archive) -> None:
    archive.store(everything("a"), everything("b"))
    holds.hold(archive.conn, Wanted(call_id="a"), CLERK)
    counts = erase(archive.conn, "John", CLERK).counts
    assert (counts["calls"], counts["held"]) == (1, 1)
    assert archive.personal("a") != []
    assert archive.rows("SELECT call_id FROM cdr.erased_call") == [("b",)]
    holds.release(archive.conn, 1, CLERK)
    assert erase(archive.conn, "John", CLERK).counts["calls"] == 1


def test_a_hold_that_comes_while_a_run_erases_wins(archive: Archive, another: Callable[[], Connection]) -> None:
    archive.store(*(everything(f"{number:02}") for number in range(20)))
    erasure.find(archive.conn, "John")
    pages = erasure.erase(archive.conn, page=10)
    assert next(pages) == 10
    holds.hold(another(), Wanted(party="john"), CLERK)
    assert sum(pages) == 0
    assert archive.rows("SELECT count(*) FROM cdr.erased_call") == [(10,)]


def test_a_run_that_was_interrupted_is_finished_by_the_next(archive: Archive) -> None:
    archive.store(*(everything(f"{number:02}") for number in range(20)))
    erasure.find(archive.conn, "John")
    pages = erasure.erase(archive.conn, page=10)
    next(pages)
    assert erase(archive.conn, "John", CLERK).counts["calls"] == 10
    assert archive.rows("SELECT count(*) FROM cdr.call WHERE source_name IS NOT NULL") == [(0,)]


def test_a_dry_run_counts_the_same_and_changes_nothing(archive: Archive) -> None:
    archive.store(everything("a"), everything("b"), make("c"))
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "x", b"<Call>John")]))
    holds.hold(archive.conn, Wanted(call_id="b"), CLERK)
    dry = erase(archive.conn, "John", CLERK, dry_run=True).counts
    assert archive.personal("a") != []
    assert archive.rows("SELECT count(*) FROM cdr.quarantine") == [(1,)]
    assert erase(archive.conn, "John", CLERK).counts == dry


def test_a_call_that_was_not_archived_then_is_stored_as_any_other(archive: Archive) -> None:
    erase(archive.conn, "John", CLERK)
    archive.store(everything())
    assert archive.rows("SELECT source_name FROM cdr.call") == [("John",)]


def test_rebuild_leaves_erased_facts_as_they_are_and_calls_none_unreadable(archive: Archive) -> None:
    archive.store(everything())
    erase(archive.conn, "John", CLERK)
    before = archive.rows("SELECT * FROM cdr.call")
    reread = Interpreter(Settings()).reread
    *_, done = rebuild(archive.conn, reread)
    assert (done.calls, done.unreadable, done.calls_changed) == (1, 0, 0)
    assert archive.rows("SELECT * FROM cdr.call") == before


def test_a_row_that_was_changed_by_hand_is_cleared_too(archive: Archive) -> None:
    archive.store(make("a"), make("b"))
    archive.change("UPDATE cdr.call SET agent_id = 'John' WHERE call_id = 'a'")
    archive.change("DELETE FROM cdr.fact WHERE call_id = 'a'")
    assert erase(archive.conn, "John", CLERK).counts["calls"] == 1
    assert archive.personal("a") == []


def test_an_erased_call_that_is_old_enough_is_deleted_and_does_not_come_back(archive: Archive) -> None:
    archive.store(make("a", OLD, source_name="John"))
    erase(archive.conn, "John", CLERK)
    apply(archive.conn, CUTOFF, CLERK)
    assert archive.calls == []
    assert archive.store(make("a", OLD, source_name="John")).expired == 1


def test_the_call_explained_says_that_it_was_erased_and_what_holds_it(archive: Archive) -> None:
    archive.store(make("a", id_time=UNTIMED, source_name="John"), make("b", id_time=UNTIMED, source_caller_id="1000"))
    erase(archive.conn, "John", CLERK)
    holds.hold(archive.conn, Wanted(party="1000"), CLERK)
    erased, other = explain(archive.conn, "a"), explain(archive.conn, "b")
    assert erased is not None
    assert other is not None
    assert erased.erased_at is not None
    assert [each.element for each in erased.evidence] == [b""]
    assert (other.erased_at, other.holds) == (None, (1,))


# Documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"<Call name='John'", True),
        ("<Call name='JOHN'".encode("utf-16"), True),
        (b"<Call name='J&#111;hn'", True),
        (b"\xff <name>John</name>", True),
        (b"<Call name='Johnson'", False),
        (b"<Call name='Jane'", False),
        ("<Call name='\uff2aohn'".encode(), True),
    ],
)
def test_documents_that_mention_the_party_are_removed(archive: Archive, body: bytes, found: bool) -> None:
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "x", body)]))
    assert erase(archive.conn, "John", CLERK).counts["documents"] == found
    assert archive.rows("SELECT count(*) FROM cdr.quarantine") == [(not found,)]


@pytest.mark.parametrize(
    ("body", "party"),
    [("Müller\n Hans", "müller hans"), ("Straße 5", "STRASSE"), ("sip:1000@x", "1000"), ("Smith, John", "smith john")],
)
def test_documents_and_calls_agree_on_who_is_mentioned(archive: Archive, body: str, party: str) -> None:
    archive.store(make("a", source_name=body))
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "x", f"<n>{body}</n>".encode())]))
    counts = erase(archive.conn, party, CLERK).counts
    assert (counts["calls"], counts["documents"]) == (1, 1)


def test_a_party_of_two_characters_removes_no_document_that_only_has_them_somewhere(archive: Archive) -> None:
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "x", b'<Call flag="0"')]))
    assert erase(archive.conn, "0", CLERK).counts["documents"] == 0


def test_documents_of_an_erased_call_are_removed_whatever_they_mention(archive: Archive) -> None:
    archive.store(everything("a"))
    noted = Quarantined(YOUNG, "ny-1", "stream", "x", b"<Call/>", note={"call_id": "a"})
    named = Quarantined(YOUNG, "ny-1", "stream", "x", b'<Call id="a"')
    other = Quarantined(YOUNG, "ny-1", "stream", "x", b'<Call id="b"')
    archive.writer.write(Batch(quarantined=[noted, named, other]))
    assert erase(archive.conn, "John", CLERK).counts["documents"] == 2
    assert archive.rows("SELECT body FROM cdr.quarantine") == [(other.body,)]


def test_documents_that_a_hold_may_cover_stay(archive: Archive) -> None:
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "x", b"<Call>John, 1000")]))
    holds.hold(archive.conn, Wanted(party="1000"), CLERK)
    counts = erase(archive.conn, "John", CLERK).counts
    assert (counts["documents"], counts["documents_held"]) == (0, 1)
    holds.release(archive.conn, 1, CLERK)
    assert erase(archive.conn, "John", CLERK).counts["documents"] == 1


MEDIA = "/media/2025-03/+12125550199_in.xml"


def in_file(path: str = MEDIA, body: bytes = b"<x", **note: Any) -> Quarantined:
    return Quarantined(YOUNG, None, path, "not_well_formed", body, note={"kind": "file", **note})


@pytest.mark.parametrize(
    ("document", "party", "found"),
    [
        (in_file(), "+12125550199", True),
        (in_file("/media/Müller, Hans/1.xml"), "müller hans", True),
        (in_file("/media/1.xml", name="John"), "John", True),
        (in_file("/media/1.xml", detail="70000 bytes"), "70000", False),
        (in_file("/media/1.xml", sqlstate="22021"), "22021", False),
        (in_file("/media/10001.xml"), "1000", False),
    ],
)
def test_a_party_that_only_the_path_of_a_file_or_a_note_names_is_found(
    archive: Archive, document: Quarantined, party: str, found: bool
) -> None:
    """A file that nobody could read kept its path, and the number in it, for good."""
    archive.writer.write(Batch(quarantined=[document]))
    assert erase(archive.conn, party, CLERK).counts["documents"] == found
    assert archive.rows("SELECT count(*) FROM cdr.quarantine") == [(not found,)]


@pytest.mark.parametrize("wanted", [Wanted(party="+12125550199"), Wanted(call_id="a")])
def test_a_file_that_only_its_path_or_note_shows_to_be_held_stays(archive: Archive, wanted: Wanted) -> None:
    archive.writer.write(Batch(quarantined=[in_file(body=b"<x John", call_id="a")]))
    holds.hold(archive.conn, wanted, CLERK)
    assert erase(archive.conn, "John", CLERK).counts["documents_held"] == 1
    assert apply(archive.conn, YOUNG + timedelta(days=1), CLERK).counts["documents"] == 0
    holds.release(archive.conn, 1, CLERK)
    assert erase(archive.conn, "John", CLERK).counts["documents"] == 1


def test_a_file_of_an_erased_call_that_comes_later_leaves_no_path(archive: Archive) -> None:
    archive.store(everything("a"))
    erase(archive.conn, "John", CLERK)
    late = in_file(body=b'<Call id="a"')
    assert archive.writer.write(Batch(quarantined=[late])).quarantined == {(None, "not_well_formed"): 1}
    assert archive.rows("SELECT origin, body FROM cdr.quarantine") == [("file", b"")]
    assert archive.writer.write(Batch(quarantined=[late])).quarantined == {}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_an_unfinished_backfill_that_names_the_party_is_forgotten(archive: Archive, dry_run: bool) -> None:
    run = backfill.begin(archive.conn, "files", {"paths": ["/media"]})
    paths = ["/media/+12125550199", "/media/other", "/media/\udcff 12125550199"]
    folders.mark(archive.conn, run.id, [Mark(path, 1, b"") for path in paths])
    assert erase(archive.conn, "+12125550199", CLERK, dry_run=dry_run).counts["folders"] == 2
    assert archive.rows("SELECT count(*) FROM cdr.backfill_folder") == [(3 if dry_run else 1,)]


def test_lists_of_reconciliation_that_show_an_erased_call_are_removed(archive: Archive) -> None:
    archive.store(everything("a"))
    lists = {"a": b'<Call id="a" from="1"/>', "j": b"<Call>John</Call>", "o": b'<Call id="o"/>'}
    for letter, body in lists.items():
        archive.change(
            "INSERT INTO cdr.reconcile_run (id, recorder, trigger, told, first_list, second_list)"
            " VALUES (gen_random_uuid(), 'ny-1', 'periodic', %s, %s, %s)",
            letter,
            compress(b"<Calls/>"),
            compress(body),
        )
    assert erase(archive.conn, "John", CLERK).counts["lists"] == 2
    assert archive.rows("SELECT told FROM cdr.reconcile_run WHERE first_list IS NOT NULL") == [("o",)]
    assert archive.rows("SELECT count(*) FROM cdr.reconcile_run") == [(3,)]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b'<Call id="a" name="John"', {"call_id": "a"}),
        (b'<Call id="a" name="John"', {}),
        (b'\0 <Call name="John" id=a\0', {}),
        (b'<Call name="John"', {"call_id": "a", "name": "John"}),
    ],
)
def test_a_document_of_an_erased_call_that_comes_later_is_not_quarantined_as_it_came(
    archive: Archive, body: bytes, note: dict[str, Any]
) -> None:
    archive.store(everything("a"))
    erase(archive.conn, "John", CLERK)
    late = Quarantined(YOUNG, "ny-1", "stream", "garbage", body, note=note)
    written = archive.writer.write(Batch(quarantined=[late]))
    assert written.quarantined == {("ny-1", "garbage"): 1}
    told = {key: value for key, value in note.items() if key == "call_id"}
    assert archive.rows("SELECT body, note FROM cdr.quarantine") == [(b"", {**told, "erased": True})]
    assert archive.writer.write(Batch(quarantined=[late])).quarantined == {}


def test_a_document_of_another_call_is_quarantined_as_it_came_after_an_erasure(archive: Archive) -> None:
    archive.store(everything("a"))
    erase(archive.conn, "John", CLERK)
    archive.writer.write(Batch(quarantined=[Quarantined(YOUNG, "ny-1", "stream", "garbage", b'<Call id="b"')]))
    assert archive.rows("SELECT body, note FROM cdr.quarantine") == [(b'<Call id="b"', {})]


@pytest.mark.parametrize(("call_id", "kept"), [("a", False), ("b", True)])
def test_a_list_that_shows_an_erased_call_is_not_kept_by_a_later_run(
    archive: Archive, call_id: str, kept: bool
) -> None:
    archive.store(everything("a"))
    erase(archive.conn, "John", CLERK)
    run = reconcile.Run(UUID(int=1), "ny-1", "periodic")
    reconcile.begin(archive.conn, run)
    shown = compress(f'<Call id="{call_id}" name="John"/>'.encode())
    reconcile.add_actions(archive.conn, run, [], {}, [compress(b"<Calls/>"), shown])
    assert archive.rows("SELECT first_list IS NOT NULL, second_list IS NOT NULL FROM cdr.reconcile_run") == [
        (kept, kept)
    ]


# What is told of it -----------------------------------------------------------------------------------------------


def test_the_audit_holds_counts_and_not_the_party(archive: Archive) -> None:
    archive.store(everything())
    erase(archive.conn, "John", CLERK)
    [(text, effect)] = archive.rows("SELECT a::text, effect FROM cdr.audit a")
    assert effect["calls"] == 1
    assert "john" not in text.lower()


def test_a_reason_that_names_the_party_is_refused(archive: Archive) -> None:
    with pytest.raises(UsageError, match="names the party"):
        erase(archive.conn, "John", type(CLERK)("clerk", "JOHN asked for it"))


def test_a_released_hold_forgets_the_party_and_one_in_force_does_not(archive: Archive) -> None:
    for _ in range(2):
        holds.hold(archive.conn, Wanted(party="John"), CLERK)
    holds.release(archive.conn, 1, CLERK)
    assert erase(archive.conn, "JOHN", CLERK).counts["holds"] == 1
    assert archive.rows("SELECT value, forms FROM cdr.legal_hold ORDER BY id") == [(None, []), ("John", ["john"])]


def test_every_personal_field_exists() -> None:
    assert {field.name for field in FIELDS} >= HIDDEN
