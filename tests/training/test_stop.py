"""A stop is a flag inside the loop and nothing outside it."""

import os
import signal
import threading

import pytest

from cookbook_lib.training.stop import StopRequest, stop_asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_becomes_a_flag_and_raises_nothing(number: signal.Signals) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
        assert number.name in stop.reason


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_from_another_thread_counts_and_the_first_reason_stays() -> None:
    stop = StopRequest()
    thread = threading.Thread(target=stop.request, args=("button",))
    thread.start()
    thread.join()
    stop.request("later")
    assert stop.requested
    assert stop.reason == "button"


def test_clear_allows_training_to_go_on() -> None:
    stop = StopRequest()
    stop.request()
    stop.clear()
    assert not stop.requested


def test_work_between_steps_hears_of_it_inside_the_loop_alone() -> None:
    stop = StopRequest()
    stop.request()
    assert not stop_asked()
    with stop:
        assert stop_asked()
    assert not stop_asked()


def test_works_outside_the_main_thread() -> None:
    def body() -> None:
        with StopRequest() as stop:
            stop.request("x")
            seen.append(stop.requested)

    seen: list[bool] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [True]
