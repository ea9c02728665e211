"""Pictures: they draw without a warning at every size, and their words carry the numbers."""

import numpy as np
import pytest

from cookbook_lib.display import bars, length_histogram, packing_picture, schedule
from cookbook_lib.display.plots import _percentile

FORWARDS = [(1, 0, [300, 100]), (0, 0, [200, 200, 100]), (0, 1, [500]), (1, 1, [])]


@pytest.mark.parametrize(
    "picture",
    [
        length_histogram([10, 20, 3000], max_length=1024),
        length_histogram([7]),
        length_histogram([]),
        packing_picture(FORWARDS, budget=512),
        packing_picture(FORWARDS, padded=True),
        packing_picture([]),
        schedule([(0, 1e-5), (1, 2e-5), (2, 1e-5)], warmup_steps=1),
        schedule([(0, 0.0)]),
        schedule([]),
        bars({"padded": 255.0, "packed": 2950.0}, unit="tokens/s", highlight="packed"),
        bars({}),
    ],
    ids=lambda picture: picture.text[:40],
)
def test_every_picture_draws(picture):
    assert picture.render().startswith(b"\x89PNG")


def test_the_histogram_counts_what_max_length_would_cut():
    text = length_histogram(list(range(1, 101)), max_length=90, title="Tokens").text
    assert text == "Tokens: 100 conversations, 50th 50, 95th 95, longest 100; 10 above max_length 90"


@pytest.mark.parametrize(("share", "value"), [(50, 2), (95, 4), (100, 4), (1, 1)])
def test_percentiles_are_values_that_occur(share, value):
    assert _percentile([1, 2, 3, 4], share) == value


def test_packed_forwards_are_all_real():
    assert packing_picture(FORWARDS).text == (
        "One optimizer step: 4 forwards, 6 documents, 100.0% of 1,400 computed tokens are real"
    )


def test_lengths_may_come_from_numpy():
    lengths = np.array([3, 4, 5])
    assert packing_picture([(0, 0, lengths)], padded=True).text.endswith("80.0% of 15 computed tokens are real")
    assert length_histogram(lengths).text.startswith("Tokens per conversation: 3 conversations, 50th 4")


def test_padding_is_counted_per_forward():
    # 200 x 3, 500 x 1, 300 x 2, none: 1,700 positions for 1,400 tokens
    assert "82.4% of 1,700" in packing_picture(FORWARDS, padded=True).text


def test_bars_and_schedules_in_words():
    assert bars({"a": 1.5, "b": 2000.0}, unit="s", title="Time").text == "Time: a 1.5 s, b 2,000 s"
    assert (
        schedule([(0, 1e-5), (1, 2e-5), (40, 0.0)], warmup_steps=1).text
        == "Learning rate: 41 steps, warmup 1, peak 2e-05, last 0"
    )
