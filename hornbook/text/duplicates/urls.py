"""The normal form of a URL, by which two addresses of one page are told to be the same.

Reads http and https URLs as browsers do (the WHATWG URL standard), and goes further where servers rarely tell the
difference: scheme, `www.`, user, order of the query's parameters, final slash, and parameters that only say who came
from where. Nothing is an error: what is no such URL is its own normal form.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote, unquote_to_bytes

import idna

UNRESERVED = "-._~"
KEPT = UNRESERVED + "!$&()*+,;=:@/?[]|^%"
"""Characters of a path or query that stay as they are written (RFC 3986, 2.2); the others are percent-encoded."""

TRACKING = re.compile(
    r"utm_\w+|(g|fb|dc|y|tw|tt)clid|msclkid|gclsrc|wbraid|gbraid|li_fat_id|igshid|igsh|mc_[ce]id|mkt_tok|_ga|_gl"
    r"|_hs(enc|mi)|__hs(sc|tc|fp)|hsctatracking|vero_(id|conv)|oly_(anon|enc)_id|s_cid|spm|scm|_openstat|at_(campaign|medium)"
    r"|(php|j|asp)sess(ion)?id\w*|aspsessionid\w*|sessionid|session_id|cfid|cftoken|oscsid|zenid",
    re.IGNORECASE,
)
"""Names of parameters that say who came from where (campaigns, clicks, sessions), and not what is shown."""

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
SESSION = re.compile(r";(jsessionid|phpsessid|sid)=[^/;?#]*", re.IGNORECASE)
ESCAPED = re.compile(r"%([0-9a-f]{2})", re.IGNORECASE)
IGNORED = str.maketrans("", "", "\t\n\r")
FORBIDDEN = re.compile(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]")
"""Characters that no host's name may have."""
LONGEST_HOST = 1000
"""Characters as they are written; a name has 253, and reading much more of them takes more than linear time."""
EDGES = "".join(map(chr, range(33)))


def normal_form(url: str) -> str:
    """`http://example.org/a?b=1` for `HTTPS://www.Example.org:443/x/../a/?utm_source=mail&b=1#top`."""
    plain = url.strip(EDGES).translate(IGNORED)
    scheme = SCHEME.match(plain)
    name = scheme[0][:-1].lower() if scheme else ""
    if name in ("http", "https") and scheme:
        return _web(plain[scheme.end() :].replace("\\", "/").lstrip("/")) or plain
    if _is_host(re.split(r"[/?#\\]", plain, maxsplit=1)[0]):
        return _web(plain) or plain
    return f"{name}{plain[len(name) :]}"


def _is_host(text: str) -> bool:
    """Whether a text that begins no URL still reads as a host: `example.org`, `www.example.org:8080`."""
    return re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", text) is not None


def _web(rest: str) -> str:
    """The normal form of what follows `http://`; "" where that has no host."""
    front, mark, fragment = rest.partition("#")
    before, _, query = front.partition("?")
    authority, slash, path = before.partition("/")
    place = _place(authority.rpartition("@")[2])
    if not place:
        return ""
    path = _without_dots(SESSION.sub("", _encoded(slash + path))).rstrip("/") or "/"
    asked = f"?{query}" if (query := _query(query)) else ""
    shown = f"#{_encoded(fragment)}" if mark and fragment.startswith("!") else ""
    return f"http://{place}{path}{asked}{shown}"


def _place(authority: str) -> str:
    """The host in lower case, without `www.`, and its port where that is neither scheme's; "" where it has no host."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", authority)
    host = _host(found[1]) if found and len(found[1]) <= LONGEST_HOST else ""
    if not found or not host:
        return ""
    port = (found[2] or "").lstrip("0") or ("0" if found[2] else "")
    return host if port in ("", "80", "443") else f"{host}:{port}"


def _host(written: str) -> str:
    if written.startswith("["):
        return _address_6(written)
    host = unquote(written, errors="replace").lower()
    if not host.isascii() or "xn--" in host:
        host = _ascii(host)
    host = host.rstrip(".")
    if FORBIDDEN.search(host):
        return ""
    host = _address_4(host) or host
    start = 0
    while host.startswith("www.", start) and host.find(".", start + 4) >= 0:
        start += 4
    return host[start:]


def _ascii(host: str) -> str:
    """A name of other letters as the domain name system holds it (IDNA); as it is, where no domain can be so called."""
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
    except idna.IDNAError:
        return host
    labels = mapped.split(".")
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def _address_6(written: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(written[1:-1])}]"
    except ValueError:
        return written.lower()


def _address_4(host: str) -> str:
    """`127.0.0.1` for `0x7f.1` and the other ways in which browsers read an address; "" for what is none."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(re.fullmatch(r"0x[0-9a-f]{0,16}|[0-9]{1,50}", part) for part in parts):
        return ""
    try:
        *heads, last = (_number(part) for part in parts)
    except ValueError:
        return ""
    if any(head > 255 for head in heads) or last >= 256 ** (5 - len(parts)):
        return ""
    return str(ipaddress.IPv4Address(last + sum(head << (8 * (3 - at)) for at, head in enumerate(heads))))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") and len(text) > 1 else 10)


def _without_dots(path: str) -> str:
    """A path without its `.` and `..` (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept[-1:] = []
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _query(query: str) -> str:
    """A query's parameters in order of their names, without those of tracking and sessions."""
    named = [(part.partition("=")[0], part) for part in _encoded(query).split("&") if part]
    kept = sorted((pair for pair in named if not TRACKING.fullmatch(pair[0])), key=lambda pair: pair[0])
    return "&".join(part for _, part in kept)


def _encoded(text: str) -> str:
    """Percent-encoding in its normal form: of no letters, digits and UNRESERVED; in upper case (RFC 3986, 6.2.2)."""
    return quote(ESCAPED.sub(_escape, text), safe=KEPT, errors="surrogatepass")


def _escape(found: re.Match[str]) -> str:
    character = chr(unquote_to_bytes(found[0])[0])
    plain = character.isascii() and (character.isalnum() or character in UNRESERVED)
    return character if plain else found[0].upper()
