"""One session: one TCP connection with its subscription, from the connect to the socket's destruction.

The session journals everything it reads, keeps the subscription's deadlines, and tells its listener what
matters at once. It decides nothing about calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from etl.config import Recorder
from etl.errors import RecorderUnavailable
from etl.model import Json, Kind, What
from etl.protocol.dialect import Dialect
from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.messages import Message, Notification, Response
from etl.protocol.subscription import Confirmed, Dead, Event, Refused, Subscription
from etl.recorder.clock import Clock, Pause, Step, Watch, read
from etl.recorder.link import Link
from etl.recorder.reading import read_messages
from etl.recorder.sink import Scribe

LOOK_EVERY = 0.2
"""Seconds between two looks at the clock and the subscription's deadlines."""


class Listener(Protocol):
    """Who wants to know what happens in a session, at once."""

    def opened(self, session: UUID) -> None: ...

    def confirmed(self, session: UUID) -> None:
        """The recorder confirmed the subscription: now, and not before, a list counts."""

    def interrupted(self, session: UUID) -> None:
        """Reading stood still or the clock was set: coverage goes on with the next list."""

    def heard(self, kind: str) -> None:
        """A message was read."""

    def ended(self, call_id: str) -> None:
        """The recorder says that a call has ended: its detail can be asked for."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ended: `reason` is one of the words used for gaps, `told` is for the user."""

    reason: str
    told: str


class Session:
    """A subscription that lives until the recorder, the network or we end it."""

    def __init__(
        self,
        session: UUID,
        worker: str,
        recorder: Recorder,
        dialect: Dialect,
        scribe: Scribe,
        listener: Listener,
        clock: Clock,
        *,
        margin: timedelta,
        limit: int,
        watch: Watch | None = None,
    ) -> None:
        """`watch`: the one of earlier sessions, which notices that the clock was set between them."""
        self.id = session
        self._worker = worker
        self._recorder = recorder
        self._dialect = dialect
        self._scribe = scribe
        self._listener = listener
        self._clock = clock
        self._watch = watch or Watch(clock, margin)
        self._limit = limit
        self._timeout = recorder.request_timeout.total_seconds()
        self._subscription = Subscription(
            recorder.extensions,
            dialect,
            probe_every=recorder.probe_every.total_seconds(),
            request_timeout=self._timeout,
        )
        self._ending: Ending | None = None
        self._over = asyncio.Event()
        self._last_byte = 0.0
        self._margin = margin
        self._held = False

    def close(self, reason: str, told: str) -> None:
        """End the session; the first reason given stands."""
        if self._ending is None:
            self._ending = Ending(reason, told)
            self._over.set()

    async def run(self) -> Ending:
        """Connect, subscribe, read until the end; raises RecorderUnavailable if no connection came about."""
        link = await self._connected()
        if link is None:
            return self._ending or Ending("crash", "the worker failed")
        extensions = list[Json](sorted(self._recorder.extensions))
        self._scribe.event(self.id, What.OPENED, worker=self._worker, extensions=extensions, **self._clocks())
        self._listener.opened(self.id)
        for happening in self._watch.look():
            if isinstance(happening, Step):  # that nobody read between two sessions is no pause of this one
                self._interrupt(happening)
        self._last_byte = self._clock.elapsed()
        link.send(self._subscription.start(self._clock.elapsed()))
        tasks = [asyncio.create_task(self._read(link)), asyncio.create_task(self._mind(link))]
        try:
            await self._over.wait()
        finally:
            self.close("crash", "the worker failed")
            await _stop(tasks)
            ending = await self._close(link)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        return ending

    async def _connected(self) -> Link | None:
        """An open connection, or None where the session was closed before there was one: a stop does not wait."""
        connecting = asyncio.create_task(Link.open(self._recorder, Framer(self._limit, self._dialect.root)))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({connecting, over}, return_when=asyncio.FIRST_COMPLETED)
            return connecting.result() if connecting.done() else None
        finally:
            await _stop([connecting, over])

    async def _close(self, link: Link) -> Ending:
        ending = self._ending or Ending("crash", "the worker failed")
        link.close()
        await self._take(link, link.finish("cut_off"))
        self._scribe.event(self.id, What.CLOSED, reason=ending.reason, told=ending.told)
        return ending

    async def _read(self, link: Link) -> None:
        try:
            while data := await link.receive():
                self._look()
                self._last_byte = self._clock.elapsed()
                await self._take(link, link.frame(data))
                if link.receiving:
                    self._subscription.receiving(self._last_byte)
                await self._hold()
            self.close("drop", self._told_of_drop())
        except RecorderUnavailable as error:
            self.close("reset", str(error))
        finally:
            self.close("crash", "reading failed")

    async def _hold(self) -> None:
        """Wait for the journal. A wait longer than the margin is a pause in reading like any other."""
        began, start = self._clock.elapsed(), self._clock.now()
        self._held = True
        await self._scribe.room()
        self._held = False
        if not self._look() and self._clock.elapsed() - began > self._margin.total_seconds():
            self._interrupt(Pause(start, self._clock.now()))

    def _told_of_drop(self) -> str:
        if self._subscription.confirmed:
            return "the recorder closed the connection"
        tls, hint = self._recorder.tls, ""
        if tls is None:
            hint = "; if it expects TLS, set tls for this recorder"
        elif tls.certificate is None:
            hint = "; if it expects a client certificate, set tls.certificate and tls.key"
        return f"the recorder closed the connection before it confirmed the subscription{hint}"

    async def _mind(self, link: Link) -> None:
        """Look at the clock and the deadlines often, and send what is due."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if self._look() or self._held:
                    continue  # what is waiting is read before the silence is judged
                self._judge(link)
        finally:
            self.close("crash", "minding the subscription failed")

    def _judge(self, link: Link) -> None:
        now = self._clock.elapsed()
        if link.receiving and now - self._last_byte > self._timeout:
            self.close("stall", f"a message stopped half-way and nothing came for {self._timeout:g} s")
            return
        due, event = self._subscription.tick(now)
        if due:
            link.send(due)
        if event is not None:
            self._react(event)

    def _look(self) -> bool:
        """Journal a pause or clock step that has just come to light; True if there was one."""
        found = self._watch.look()
        for happening in found:
            self._interrupt(happening)
        return bool(found)

    def _interrupt(self, happening: Pause | Step) -> None:
        if isinstance(happening, Pause):
            self._scribe.event(self.id, What.PAUSED, **{"from": happening.start.isoformat()})
        else:
            note: dict[str, Json] = {"from": happening.before.isoformat(), "to": happening.after.isoformat()}
            self._scribe.event(self.id, What.STEPPED, **note, seen=happening.seen.isoformat(), **self._clocks())
        self._subscription.resumed(self._clock.elapsed())
        self._listener.interrupted(self.id)

    def _clocks(self) -> dict[str, Json]:
        """What a later process needs to see that the clock was set back in between."""
        reading = read(self._clock)
        return {"boot": reading.boot, "booted_at": reading.booted_at.isoformat(), "now": reading.now.isoformat()}

    async def _take(self, link: Link, items: Iterable[Document | Rejected]) -> None:
        for item in items:
            self._held = True
            messages = await read_messages(item, self._dialect)
            self._held = False
            behind: dict[str, Json] = {"behind": True} if self._is_behind(link) else {}
            self._scribe.received(self.id, item, self._asked(messages) | behind)
            for message in messages:
                self._handle(message)

    def _is_behind(self, link: Link) -> bool:
        """Whether more waits than what has just come, or might by now. Then this message may have waited for long, and
        its receipt does not tell until when we have heard everything."""
        return not link.caught_up or self._clock.elapsed() - self._last_byte > self._margin.total_seconds()

    def _asked(self, messages: Iterable[Message]) -> dict[str, Json]:
        """What was asked, if this answers something: a replay must not need to remember."""
        for message in messages:
            if isinstance(message, Response):
                asked = self._subscription.asked(message.request_id)
                if asked is not None:
                    return {"asked": asked.value}
        return {}

    def _handle(self, message: Message) -> None:
        self._listener.heard(type(message).__name__.lower())
        for event in self._subscription.message(message, self._clock.elapsed()):
            self._react(event)
        if isinstance(message, Notification) and message.kind is Kind.END:
            for record in message.records:
                self._listener.ended(record.call_id)

    def _react(self, event: Event) -> None:
        if isinstance(event, Confirmed):
            self._listener.confirmed(self.id)
        elif isinstance(event, Refused):
            self.close("refused", f"the recorder refused the subscription (code {event.code}): {event.text}")
        elif isinstance(event, Dead):
            self.close("silence", event.reason)


async def _stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
