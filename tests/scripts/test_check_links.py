"""check_links: relative links and fragments are followed, code blocks and the web are not."""

from scripts.check_links import lost_links


def test_lost_links_are_named_with_their_line(tmp_path):
    (tmp_path / "there.md").write_text("# Two words, and more\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](there.md) [b](there.md#two-words-and-more) [c](#page) [d](https://example.org/x)\n"
        "```\n[e](in-code.md)\n```\n"
        '[f](gone.md) ![g](gone.png)\n[h](there.md#no-such) <img src="gone.svg">\n'
    )
    assert list(lost_links(page)) == [(6, "gone.md"), (6, "gone.png"), (7, "there.md#no-such"), (7, "gone.svg")]
