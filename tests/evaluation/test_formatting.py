"""Markdown is counted and stripped; what only looks like it is left alone."""

import pytest

from cookbook_lib.evaluation.formatting import format_features, format_marks, strip_format

RICH = """## Steps
- **one**
2. two *it* `code`
> said
| a | b |
|---|:-:|
| 1 | 2 |
```py
x = a ** b  # - no
```
see [this](http://x.y)"""

PLAIN = """Steps
one
two it code
said
a, b

1, 2
x = a ** b  # - no
see this"""


def test_features_by_hand():
    assert format_features(RICH) == {
        "headings": 1, "rules": 0, "quotes": 1, "list items": 2, "table rows": 3, "bold": 1, "italic": 1, "code": 1,
        "links": 1, "fences": 1,
    }  # fmt: skip


def test_what_is_left_has_no_marks():
    assert strip_format(RICH) == PLAIN
    assert format_marks(strip_format(RICH)) == 0


@pytest.mark.parametrize(
    "text", ["3 * 4 * 5", "snake__case__name", "#hashtag", "-5 degrees", "a - b", "2.5 apples", "", "f(x)[0]", "1) "]
)
def test_what_only_looks_like_markdown_stays(text):
    assert format_marks(text) == 0
    assert strip_format(text) == text
