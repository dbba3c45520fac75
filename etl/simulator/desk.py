"""Answers requests from what the recorder knows, with the faults that strike answers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal

from etl.simulator.clock import Clock
from etl.simulator.config import SimulatorConfig
from etl.simulator.connection import Connection
from etl.simulator.faults import FaultKind
from etl.simulator.requests import BadRequest, Request
from etl.simulator.timeline import Timeline
from etl.simulator.truth import FaultLine, ServedLine, TruthWriter
from etl.simulator.wire import Wire
from etl.simulator.world import World

_PROCESSING_ERROR = "Processing Error"


class Desk:
    """One answer for every request, whatever it is."""

    def __init__(
        self,
        config: SimulatorConfig,
        world: World,
        wire: Callable[[], Wire],
        truth: TruthWriter,
        clock: Clock,
        timeline: Timeline,
        rng: Random,
        subscribe: Callable[[Connection, tuple[str, ...]], None],
    ) -> None:
        """`wire` gives the writer of the next document; `subscribe` is told who wants which calls."""
        self.failing_details = 0
        self.list_error = False
        self._config = config
        self._world = world
        self._wire = wire
        self._truth = truth
        self._clock = clock
        self._timeline = timeline
        self._rng = rng
        self._subscribe = subscribe

    def answer(self, connection: Connection, request: Request | BadRequest) -> None:
        """Answers, now or later."""
        if isinstance(request, BadRequest):
            self._refuse(connection, "", None, 1, f"Request not understood: {request.reason}")
        elif request.type == "SubscribeOnCallEvent":
            self._accept(connection, request)
        elif request.type == "GetCallList":
            self._list(connection, request)
        elif request.type == "GetCallDetails":
            self._detail_soon(connection, request)
        else:
            self._refuse(connection, request.type, request.id, 3, f"Unknown request type: {request.type}")

    def _accept(self, connection: Connection, request: Request) -> None:
        connection.send(self._wire().subscribed(request.id, self._config.keepalive))
        self._subscribe(connection, request.extensions)

    def _list(self, connection: Connection, request: Request) -> None:
        if self.list_error:
            self._refuse(connection, request.type, request.id, 2, "Database error")
            return
        listed = [call for call in self._world.ongoing.values() if not self._left_out()]
        calls = [(call.call_id, self._world.list_fields(call)) for call in listed]
        connection.send(self._wire().call_list(request.id, calls))
        self._tell("list", connection, rows=len(calls))
        self._after_response(connection)

    def _left_out(self) -> bool:
        """Whether a list lacks this call."""
        if not self._strikes(FaultKind.SHORT_LISTS):
            return False
        self._truth.write(FaultLine(self._clock.now(), FaultKind.SHORT_LISTS, "moment"))
        return True

    def _detail_soon(self, connection: Connection, request: Request) -> None:
        if not self._strikes(FaultKind.SLOW_DETAILS):
            self._detail(connection, request)
            return
        delay = self._config.faults.length(FaultKind.SLOW_DETAILS)
        self._timeline.after(delay, lambda: self._detail(connection, request))

    def _detail(self, connection: Connection, request: Request) -> None:
        if connection.ended or connection.muted:
            return
        call_id = request.call_id or ""
        detail = self._world.detail(call_id)
        if self._detail_fails():
            outcome: str = "failed"
            document = self._error(request, "Database error")
        elif detail.fields is None:
            outcome = detail.outcome
            document = self._error(request, f"Call cannot be found: {call_id}")
        else:
            outcome = detail.outcome
            state = "1" if outcome == "finished" else "0"
            document = self._wire().detail(request.id, state, detail.call_id, detail.fields)
        connection.send(document)
        self._tell("detail", connection, outcome, call_id)
        self._after_response(connection)

    def _detail_fails(self) -> bool:
        if self.failing_details > 0:
            self.failing_details -= 1
            return True
        return self._strikes(FaultKind.DETAIL_ERRORS)

    def _error(self, request: Request, text: str) -> bytes:
        return self._wire().error(request.type, request.id, 2, _PROCESSING_ERROR, text)

    def _refuse(self, connection: Connection, kind: str, request_id: str | None, code: int, text: str) -> None:
        connection.send(self._wire().error(kind, request_id, code, _PROCESSING_ERROR, text))
        self._tell("refused", connection, text)
        self._after_response(connection)

    def _after_response(self, connection: Connection) -> None:
        if connection.extensions is None and self._strikes(FaultKind.CLOSE_AFTER_RESPONSE):
            connection.close(FaultKind.CLOSE_AFTER_RESPONSE)

    def _strikes(self, kind: FaultKind) -> bool:
        return self._rng.random() < self._config.faults.share(kind)

    def _tell(
        self,
        service: Literal["detail", "list", "refused"],
        connection: Connection,
        outcome: str = "",
        call: str | None = None,
        rows: int | None = None,
    ) -> None:
        self._truth.write(ServedLine(self._clock.now(), service, outcome, connection.number, call, rows))
