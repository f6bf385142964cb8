from __future__ import annotations

import pytest

from hornbook.text.pages.extract import extract_html


@pytest.mark.parametrize(
    ("head", "date"),
    [
        ("<meta property='article:published_time' content='2020-01-02T03:04:05+01:00'>", "2020-01-02T03:04:05+01:00"),
        ("<meta name=DC.date content=2019-05-06><time datetime=2011-01-01>then</time>", "2019-05-06"),
        ("<time datetime=' 2011-01-01 '>then</time>", "2011-01-01"),
        ("<time itemprop=datePublished datetime=2012-01-01></time><time datetime=2011-01-01>then</time>", "2012-01-01"),
        ("<script type=application/ld+json>{\"datePublished\" : \"2018-07-08T00:00Z\"}</script>", "2018-07-08T00:00Z"),
        ("<time datetime=P1D>a day</time><meta name=date content=yesterday>", ""),
        ("<script>var a = \"<meta name=date content=2001-01-01>\"</script>", ""),
    ],
)
def test_when_a_page_was_published(head: str, date: str) -> None:
    assert extract_html(head.encode(), main_content=True).date == date


def test_what_a_page_says_of_itself() -> None:
    html = (
        "<html lang=' DE-at'><meta name=A content='x &amp; &quot;y\'><meta name=a content=z>"
        "<link rel='Canonical' href='https://x.org/a?b=1&amp;c=2'><p>text <a rel='license noopener' href=/by>by</a>"
    )
    found = extract_html(html.encode(), main_content=True)
    assert (found.language, found.license, found.canonical) == ("de-at", "/by", "https://x.org/a?b=1&c=2")
    assert found.meta == {"a": 'x & "y, z'}
