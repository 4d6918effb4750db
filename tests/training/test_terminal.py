import io
import signal
import threading

import pytest
from rich.console import Console

from dilax.training._terminal import Interrupted, ProgressBar, StopRequest


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


def console_of(width, terminal):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


LINE = {"epoch": 15, "train_loss": 0.25, "train_accuracy": 0.5, "validation_accuracy": 0.75}
SPEED = {"examples_per_second": 12_345.0, "seconds": 10.5}


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_lines_of_an_epoch_are_broken_between_numbers_that_belong_together(width):
    for terminal in (True, False):
        console = Console(
            file=io.StringIO(), width=width, force_terminal=terminal, color_system=None
        )
        bar = ProgressBar(epochs=15, total_steps=9, score="accuracy", console=console)
        bar.finish_epoch(LINE | SPEED)
        lines = console.file.getvalue().splitlines()
        parts = [part for line in lines for part in line.split("  ")]
        assert parts == [
            *("epoch 15/15", "loss 0.2500", "accuracy 0.5000", "validation accuracy 0.7500"),
            *("12,345 examples/s", "10.5 s"),
        ]
        assert len(lines) == 1 or (terminal and max(map(len, lines)) <= width)


def test_long_messages_are_broken_between_words_on_a_terminal():
    console = console_of(40, True)
    text = "checkpoint 12 is damaged: [red]/long/path/of-a-file has other bytes; an earlier is used"
    ProgressBar(epochs=1, total_steps=1, score="accuracy", console=console).say(text)
    lines = console.file.getvalue().splitlines()
    assert " ".join(lines) == text and len(lines) == 3
