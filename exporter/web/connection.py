"""hypercorn's connection, for as long as the client is there and takes what it asked for."""

from __future__ import annotations

import asyncio

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError

from nvscope.exporter.web import limits


class Connection(TCPServer):
    """hypercorn itself waits for ever for a client that does not read, for one that has gone until
    it would have been idle for too long, and for one that has changed to HTTP/2 and gone.
    """

    async def protocol_send(self, event: Event) -> None:
        if self.writer.transport.is_closing() and not isinstance(event, Closed):
            return  # nobody to send it to, and to be idle for
        try:
            async with asyncio.timeout(limits.SILENCE_SECONDS):
                await super().protocol_send(event)
        except TimeoutError:
            self.writer.transport.abort()

    async def _read_data(self) -> None:
        # The one within, which speaks HTTP/1 alone; what is around it goes over to HTTP/2 also
        # where that has not been agreed on.
        self.protocol = self.protocol.protocol  # type: ignore[assignment]
        try:
            await super()._read_data()
        except (H2CProtocolRequiredError, H2ProtocolAssumedError):
            self.writer.transport.abort()
        await self.idle_task.stop()
