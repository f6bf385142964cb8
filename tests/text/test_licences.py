from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.text.document import Document
from hornbook.text.licences import OPEN, licence_of, licensed, normal

CC = "https://creativecommons.org/licenses"


@pytest.mark.parametrize(
    ("statement", "licence"),
    [
        (f"{CC}/by-sa/4.0/", "CC-BY-SA-4.0"),
        (f"{CC}/by-sa/4.0/deed.de", "CC-BY-SA-4.0"),
        (f"{CC}/by-nc-nd/3.0/us/", "CC-BY-NC-ND-3.0-US"),
        ("http://CreativeCommons.org/licenses/BY/2.5", "CC-BY-2.5"),
        (f"{CC}/by/", "CC-BY"),
        ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("https://creativecommons.org/licenses/publicdomain/", "CC-PDDC"),
        ("CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("Creative Commons Attribution-ShareAlike 3.0 Unported", "CC-BY-SA-3.0"),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution license", "CC-BY"),
        ("CC0", "CC0-1.0"),
        ("https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", "OGL-UK-3.0"),
        ("http://opendatacommons.org/licenses/odbl/1-0/", "ODbL-1.0"),
        ("https://www.gnu.org/licenses/fdl-1.3.html", "GFDL-1.3-or-later"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("© 2020 Jo. All rights reserved.", "reserved"),
        ("Alle Rechte vorbehalten", "reserved"),
        ("版权所有", "reserved"),
        ("© 2020 Jo", ""),
        ("https://creativecommons.org/about/", ""),
        ("accby", ""),
        ("", ""),
    ],
)
def test_normal_form(statement: str, licence: str) -> None:
    assert normal(statement) == licence
    assert normal(licence) == licence


TEXT = "<p>" + "Some words of a text. " * 300 + "</p>"
PHOTO = f'<figure><figcaption>Photo by Jo, licensed <a href="{CC}/by/2.0/">CC BY 2.0</a></figcaption></figure>'
FOOTER = f'<footer><p>This work is licensed under a <a href="{CC}/by-sa/4.0/">CC licence</a>.</p></footer>'


def _ld(thing: str) -> str:
    return f'<script type="application/ld+json">{thing}</script>'


@pytest.mark.parametrize(
    ("html", "licence"),
    [
        (TEXT + FOOTER, "CC-BY-SA-4.0"),
        (TEXT + PHOTO, ""),
        (PHOTO + TEXT + FOOTER, "CC-BY-SA-4.0"),
        (TEXT + PHOTO + FOOTER, "CC-BY-SA-4.0"),
        (FOOTER + TEXT, "CC-BY-SA-4.0"),
        (f"<!-- This work is licensed under {CC}/by/4.0/ -->" + TEXT, ""),
        (f"<script>/* This work is licensed under {CC}/by/4.0/ */</script>" + TEXT, ""),
        (TEXT + f'<div class="post license"><a href="{CC}/by/4.0/">CC</a></div>', "CC-BY-4.0"),
        (TEXT + f'<a href="{CC}/by/4.0/"><img src="https://licensebuttons.net/l/by/4.0/88x31.png">', "CC-BY-4.0"),
        (TEXT + f'<p>Alle Fotos (außer Fremdinhalte) sind <a href="{CC}/by-nd/4.0/">CC BY-ND</a></p>', ""),
        (TEXT + f'<div>Except where otherwise noted, content is <a href="{CC}/by/4.0/">CC BY</a></div>', "CC-BY-4.0"),
        (TEXT + f'<li>This work explains <b>more</b>.</li><li><a href="{CC}/by/4.0/">CC</a></li>', ""),
        (TEXT + "<small>Text on this site is available under CC BY-SA 3.0.</small>", "CC-BY-SA-3.0"),
        (TEXT + f'Dieses Werk ist lizenziert unter <a href="{CC}/by/4.0/deed.de">', "CC-BY-4.0"),
        (TEXT + "<p>Copyright 2020. All Rights Reserved.</p>", "reserved"),
        ("<p>All rights reserved.</p>" + TEXT, ""),
        (_ld(f'{{"@type": "Article", "license": "{CC}/by/4.0/"}}') + TEXT, "CC-BY-4.0"),
        (_ld(f'[{{"@type": ["WebPage"], "license": {{"@id": "{CC}/by/3.0/"}}}}]') + TEXT, "CC-BY-3.0"),
        (_ld(f'{{"@graph": [{{"@type": "ImageObject", "license": "{CC}/by/4.0/"}}]}}') + TEXT, ""),
        (TEXT + "<p>The court said that the work was published under Creative Commons Attribution 4.0.</p>", ""),
        (_ld('{"license": ') + TEXT, ""),
        (_ld('{"license": {"name": "mine"}}') + TEXT, ""),
        ("", ""),
    ],
)
def test_what_a_page_says_of_itself(html: str, licence: str) -> None:
    assert licence_of(links=[], meta={}, html=html.encode()) == licence


@pytest.mark.parametrize(
    ("links", "meta", "licence"),
    [
        ([f"{CC}/by/4.0/"], {"copyright": "All rights reserved"}, "CC-BY-4.0"),
        ([f"{CC}/by/4.0/", f"{CC}/by-nc/4.0/"], {}, "CC-BY-NC-4.0"),
        (["/terms"], {}, "CC-BY-SA-4.0"),
        ([f"{CC}/by/4.0/", "/terms"], {}, "CC-BY-4.0"),
        (["//en.wikipedia.org/wiki/Text_of_the_Creative_Commons_Attribution-ShareAlike_4.0"], {}, "CC-BY-SA-4.0"),
        ([], {"dcterms.license": f"{CC}/by-nd/4.0/", "copyright": "All rights reserved"}, "CC-BY-ND-4.0"),
        ([], {"dc.rights": "CC BY 4.0"}, "CC-BY-4.0"),
        ([], {"copyright": "© All rights reserved"}, "reserved"),
        ([], {"copyright": "© 2020 Jo"}, "CC-BY-SA-4.0"),
    ],
)
def test_links_come_before_meta_and_meta_before_the_text(links: list[str], meta: dict[str, str], licence: str) -> None:
    assert licence_of(links=links, meta=meta, html=(TEXT + FOOTER).encode()) == licence


def test_an_unknown_licence_is_a_custom_one() -> None:
    assert licence_of(links=["/terms"], meta={}, html=TEXT.encode()) == "custom"


@pytest.mark.parametrize(
    ("stated", "only", "reason"),
    [
        ("CC-BY-SA-4.0", ("CC-BY-*",), None),
        (f"{CC}/by-sa/4.0/", ("CC-BY-SA-4.0",), None),
        ("CC-BY-NC-4.0", OPEN, f"licensed: CC-BY-NC-4.0, not {' or '.join(OPEN)}"),
        ("CC-BY-4.0", OPEN, None),
        ("CC-PDM-1.0", OPEN, None),
        ("CC-BY-NC-4.0", ("CC-BY-SA-*", "CC0-*"), "licensed: CC-BY-NC-4.0, not CC-BY-SA-* or CC0-*"),
        ("reserved", ("CC0-*",), "licensed: reserved, not CC0-*"),
        ("custom", ("CC0-*", "custom"), None),
        ("", ("*",), "licensed: no licence, not *"),
    ],
)
def test_only_some_licences_are_kept(stated: str, only: tuple[str, ...], reason: str | None) -> None:
    assert licensed(Document("1", "", "s", metadata={"license": stated}), only=only) == reason


PIECES = st.sampled_from([FOOTER, PHOTO, "cc by-", "creative commons attribution", "<", _ld('{"license": 1}')])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)))
def test_any_page_is_read(html: str) -> None:
    assert isinstance(licence_of(links=[], meta={}, html=html.encode()), str)
    assert isinstance(normal(html), str)
