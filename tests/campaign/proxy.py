"""A network that can be bad: connections to a port of its own are passed on, slowly, in one direction, or not at all.

It runs in a process of its own, `python -m campaign.proxy FOLDER`: reads one line of JSON per order from its input
(see `Network`), and writes the ports of its links to `FOLDER/links.json`. Bytes keep their order and are never changed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Way = Literal["there", "back"]
"""`there` is from the worker, `back` towards it."""
WAYS: tuple[Way, Way] = ("there", "back")
CHUNK = 1 << 16


@dataclass(eq=False)
class Link:
    """One port, and where it leads: a port of this machine, or the path of a Unix socket."""

    target: int | str
    delay: float = 0.0
    open: dict[Way, asyncio.Event] = field(default_factory=lambda: {way: asyncio.Event() for way in WAYS})
    pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = field(default_factory=set)

    async def serve(self) -> int:
        """Listen; the port."""
        for gate in self.open.values():
            gate.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._dial()
        except OSError:
            _cut(writer)
            return
        pair = (writer, far_writer)
        self.pairs.add(pair)
        try:
            await asyncio.gather(self._pass("there", reader, far_writer), self._pass("back", far_reader, writer))
        except OSError:
            for each in pair:
                _cut(each)
        finally:
            for each in pair:
                each.close()
            self.pairs.discard(pair)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _pass(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self.open[way].wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        await self.open[way].wait()
        with suppress(OSError):
            writer.write_eof()

    def cut(self) -> None:
        """Tear down what is connected: what is held back is lost."""
        for pair in tuple(self.pairs):
            for each in pair:
                _cut(each)


def _cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def serve(folder: Path) -> None:
    """Follow orders until the input ends."""
    targets: Mapping[str, int | str] = json.loads((folder / "targets.json").read_text())
    links = {name: Link(target) for name, target in targets.items()}
    ports = {name: await link.serve() for name, link in links.items()}
    draft = folder / "links.new"
    draft.write_text(json.dumps(ports))
    draft.rename(folder / "links.json")
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        _follow(links, json.loads(line))
        sys.stdout.write("done\n")
        sys.stdout.flush()


def _follow(links: Mapping[str, Link], order: Mapping[str, object]) -> None:
    link = links[str(order["link"])]
    match order["do"]:
        case "stall":
            link.open["there" if order["way"] == "there" else "back"].clear()
        case "delay":
            link.delay = float(str(order["seconds"]))
        case "cut":
            link.cut()
        case _:
            for gate in link.open.values():
                gate.set()


class Network:
    """Gives orders to such a process; each has taken effect when its method returns."""

    def __init__(self, folder: Path, targets: Mapping[str, int | str], environment: Mapping[str, str]) -> None:
        """Starts it; `targets` by name of the link."""
        (folder / "targets.json").write_text(json.dumps(targets))
        self._links = folder / "links.json"
        words: Sequence[str] = (sys.executable, "-m", "campaign.proxy", str(folder))
        with (folder / "network.log").open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )

    @property
    def ready(self) -> bool:
        """It listens, or has ended by itself."""
        return self._links.exists() or self._process.poll() is not None

    @property
    def ports(self) -> Mapping[str, int]:
        """By name of the link."""
        ports: Mapping[str, int] = json.loads(self._links.read_text())
        return ports

    def stall(self, link: str, way: Way) -> None:
        """Nothing passes in one direction until `flow`; connections stay as they are."""
        self._order(link=link, do="stall", way=way)

    def delay(self, link: str, seconds: float) -> None:
        """Whatever passes is so much later."""
        self._order(link=link, do="delay", seconds=seconds)

    def flow(self, link: str) -> None:
        """Everything passes again, what was held back first."""
        self._order(link=link, do="flow")

    def cut(self, link: str) -> None:
        """Its connections are torn down, and what was held back is lost."""
        self._order(link=link, do="cut")

    def _order(self, **order: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError("the network between worker and recorders has ended: see network.log")

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(20)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
