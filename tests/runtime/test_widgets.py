"""Widget messages reach every rank: same ids, same order, and a callback may use a collective."""

import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WIDGETS = """
import ipywidgets
slider = ipywidgets.IntSlider(value=3); button = ipywidgets.Button(description="train more"); clicks = 0; sums = []
def on_click(_):
    global clicks
    clicks += 1
    sums.append(total())
button.on_click(on_click)
"""


def send(kernel, widget, data):
    """What the browser sends when the user acts on a widget."""
    content = {"comm_id": kernel.value(f"{widget}.comm.comm_id"), "data": data}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", content))


def test_a_slider_moves_on_every_rank(kernel):
    kernel.run(WIDGETS)
    send(kernel, "slider", {"method": "update", "state": {"value": 8}, "buffer_paths": []})
    assert kernel.value("total(slider.value)") == 16.0


def test_a_callback_may_all_reduce(kernel):
    kernel.run(WIDGETS)
    for _ in range(3):
        send(kernel, "button", {"method": "custom", "content": {"event": "click"}})
    assert kernel.value("total(clicks), sums") == (6.0, [3.0, 3.0, 3.0])


def test_a_message_during_a_cell_waits_for_its_end_on_every_rank(kernel):
    """Even in a cell that awaits, where IPython's own kernel would run the callback at once."""
    kernel.run(WIDGETS)
    click = kernel.client.session.msg(
        "comm_msg",
        {"comm_id": kernel.value("button.comm.comm_id"), "data": {"method": "custom", "content": {"event": "click"}}},
    )
    cell = kernel.client.execute("import asyncio\nawait asyncio.sleep(1)\nduring = total(clicks)")
    kernel.client.shell_channel.send(click)
    assert kernel.collect(cell).status == "ok"
    assert kernel.value("during, total(clicks)") == (0.0, 2.0)


def test_a_callback_that_leaves_ranks_apart_is_interruptible(kernel):
    kernel.run("import ipywidgets; stuck = ipywidgets.Button(); stuck.on_click(lambda _: rank or total())")
    send(kernel, "stuck", {"method": "custom", "content": {"event": "click"}})
    message = kernel.client.execute("1 + 1")
    time.sleep(2)  # until the callback waits: an interrupt before it begins is meant for nothing
    kernel.manager.interrupt_kernel()
    assert kernel.collect(message, timeout=60).status in ("ok", "aborted")
    assert kernel.run("join()").status == "ok"
    assert kernel.value("total()") == 3.0


def test_a_kernel_of_many_ranks_offers_no_subshells(kernel):
    reply = kernel.client.kernel_info(reply=True, timeout=10)
    assert "kernel subshells" not in reply["content"]["supported_features"]
