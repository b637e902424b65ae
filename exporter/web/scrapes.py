"""The page of metrics, for all who wait for it at once.

The counts are read once for all requests that came while the last ones were served, and each form
of the page is made once. So many clients cost what two do, and have one page in memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry

from nvscope.exporter.web.forms import Form, Pages, form
from nvscope.exporter.web.message import Answer, Request, line
from nvscope.exporter.web.threads import in_thread

log = logging.getLogger(__name__)

# After a page so long was spent on others, at most: they share a thread's time with it, and more
# come to share the next one.
_REST_SECONDS = 0.1
_FAILED = line(500, "The metrics cannot be read; the exporter's log says why.")


class Scrapes:
    """Serves one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._waiting: dict[Form, asyncio.Future[Answer]] = {}
        self._serving: asyncio.Task[None] | None = None

    async def page(self, request: Request) -> Answer:
        """Return the page as it is at this request or later."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.setdefault(form(request), loop.create_future())
        if self._serving is None:
            self._serving = loop.create_task(self._serve())
        return await asyncio.shield(answer)  # one who goes takes it from nobody

    async def _serve(self) -> None:
        while self._waiting:
            began = time.monotonic()
            waiting, self._waiting = self._waiting, {}
            pages = await self._pages(waiting)
            for wanted, answer in waiting.items():
                answer.set_result(pages[wanted])
            await asyncio.sleep(min(time.monotonic() - began, _REST_SECONDS))
        self._serving = None

    async def _pages(self, forms: Iterable[Form]) -> Mapping[Form, Answer]:
        try:
            return await in_thread(lambda: self._rendered(forms))
        except Exception:
            log.exception("a scrape failed")
            return dict.fromkeys(forms, _FAILED)

    def _rendered(self, forms: Iterable[Form]) -> Mapping[Form, Answer]:
        pages = Pages(list(self._registry.collect()))
        return {each: pages.page(each) for each in forms}
