import signal
import threading

import pytest

from dilax.training._terminal import Interrupted, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_acts(number):
    seen = []
    before = signal.signal(number, lambda *_: seen.append("acted"))
    try:
        with StopRequest() as stop:
            assert stop.received is None
            signal.raise_signal(number)
            assert stop.received == number and seen == []
            signal.raise_signal(number)
            assert seen == ["acted"]
    finally:
        signal.signal(number, before)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_it_does_nothing():
    received = []

    def run():
        with StopRequest() as stop:
            received.append(stop.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert received == [None]


def test_the_message_says_where_it_stopped(tmp_path):
    stopped = Interrupted(signal.SIGTERM, step=1234, total_steps=7020, folder=tmp_path)
    assert str(stopped) == f"SIGTERM at step 1,234 of 7,020: state saved in {tmp_path}"
    assert isinstance(stopped, KeyboardInterrupt)
