"""The page in a real browser: nothing on its console, and what should be seen is seen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from nvscope.analysis.report.measures.gather import gather
from nvscope.analysis.report.page import render
from tests.unit.analysis.report.story import reader, story

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium"
)

# Put into a copy of the page, for the page itself has no script: tells what is laid out.
PROBE = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height] };
const out = {
  charts: [...document.querySelectorAll("svg.chart")].map(box),
  marks: [...document.querySelectorAll("svg.chart rect, svg.chart path")].map(box),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  width: document.documentElement.clientWidth,
  text: document.body.innerText,
};
const said = document.createElement("pre");
said.id = "said";
said.textContent = encodeURIComponent(JSON.stringify(out));
document.body.append(said);
console.log("probe ran");
</script></body>"""


def seen(tmp_path: Path, width: int) -> tuple[dict[str, object], str]:
    """What the browser laid out, and what it said on its console."""
    html = render(gather(reader(story())), "host.arrows", None)
    assert "script" not in html.split("</style>")[1]
    html = html.replace("style-src", "script-src 'unsafe-inline'; style-src")
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", PROBE))
    assert BROWSER
    done = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", f"--window-size={width},900"),
            *(f"--user-data-dir={tmp_path}/profile", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    match = re.search(r'<pre id="said">(.*?)</pre>', done.stdout)
    assert match, done.stderr[-2000:]
    return json.loads(unquote(match[1])), done.stderr


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_in_a_browser(width: int, tmp_path: Path) -> None:
    out, stderr = seen(tmp_path, width)
    console = [line for line in stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1 and "probe ran" in console[0], console
    charts, marks = out["charts"], out["marks"]
    assert isinstance(charts, list) and isinstance(marks, list)
    assert len(charts) >= 14
    assert all(w > 200 and h > 60 for w, h in charts)
    assert sum(w > 0 or h > 0 for w, h in marks) > 50
    assert out["wide"] == 0  # nothing sticks out to the side
    text = str(out["text"])
    for word in ("Over-unmap ratio", "unknown_ipa", "VM 1: alpha", "0x40000000", "0x80000000"):
        assert word in text
