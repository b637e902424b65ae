"""Web configurations: structures close to the format, known ones cut and mixed, and no YAML."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import trustme
import yaml
from hypothesis import strategies as st

from nvscope.exporter.web.settings import config, headers, tlsconfig
from nvscope.exporter.web.settings.config import WebConfig
from nvscope.probes.errors import InputError, LackError
from tests.unit.exporter.web.certificates import issue
from tests.unit.exporter.web.settings.configs import CASES, HASH

_OF_TLS = (*tlsconfig._KEYS, *tlsconfig._REFUSED)
_VALUES = (
    *("cert.pem", "key.pem", "clients.pem", "", ".", "TLS12", "TLS13", "TLS10", "NoClientCert"),
    *("RequireAndVerifyClientCert", "deny", "nosniff", "0", "1s", "0s", "yes", "y", "no", "null"),
    *("TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", HASH),
    *(HASH.replace("$04$", "$99$"), HASH[:-4] + "....", "\0", "\ud800", "\u2028", "a\nb", "<<"),
)
_texts = st.sampled_from(_VALUES) | st.text(max_size=40)
_scalars = _texts | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=9)
_values = _scalars | st.lists(_texts, max_size=3)


def _section(*keys: str) -> st.SearchStrategy[Any]:
    """A table that has such keys, or anything in its place."""
    return st.dictionaries(st.sampled_from(keys) | _texts, _values, max_size=5) | _values


_files = st.fixed_dictionaries(
    {"cert_file": st.just("cert.pem"), "key_file": st.just("key.pem")},
    optional=dict.fromkeys(_OF_TLS[2:], _values),
)
_structures = st.fixed_dictionaries(
    {},
    optional={
        "tls_server_config": _files | _section(*_OF_TLS),
        "http_server_config": st.fixed_dictionaries(
            {}, optional={"http2": _values, "headers": _section(*headers.KNOWN)}
        ),
        "basic_auth_users": st.dictionaries(_texts, _texts, max_size=3) | _section("prom"),
        "rate_limit": _section("interval", "burst"),
    },
) | _section("tls_server_config", "basic_auth_users")
_dumped = st.builds(
    lambda value, flow: yaml.safe_dump(value, sort_keys=False, default_flow_style=flow).encode(),
    _structures,
    st.sampled_from((None, True, False)),
)
_known = st.sampled_from([case.text.encode() for case in CASES])
_edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=5)), max_size=6)


def _edited(text: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Each edit: where, as a part of the length; how many bytes go there, and what comes."""
    for where, gone, come in edits:
        at = int(where * len(text))
        text = text[:at] + come + text[at + gone :]
    return text


# Texts of files.
EXAMPLES: st.SearchStrategy[bytes] = st.one_of(
    _dumped,
    st.builds(_edited, _known | _dumped, _edits),
    st.lists(_known, max_size=3).map(b"".join),
    st.binary(max_size=200),
)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """With the files that the examples name, until this process ends."""
    folder = tempfile.TemporaryDirectory()
    authority = trustme.CA()
    issue(authority, Path(folder.name))
    authority.cert_pem.write_to_path(f"{folder.name}/clients.pem")
    return folder


def attempt(example: bytes) -> None:
    """Raises where it is neither a web configuration nor refused in one line."""
    path = Path(_folder().name) / "web.yml"
    path.write_bytes(example)
    try:
        read = config.read(path)
    except (InputError, LackError) as error:
        (line,) = error.message.splitlines()
        assert line.isprintable(), repr(line)
        assert line.startswith((str(path), f"cannot read {path}")), line
    else:
        assert isinstance(read, WebConfig)
        for text in (*read.users, *read.headers.values()):
            text.encode()
