"""Signals that end a program before its first step, from wherever it is."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import interrupts
import pytest

from tests.processes import ROOT, environment

EXPERIMENTS = ROOT / "experiments"
LOST = """
import gc
import interrupts, signal
interrupts.end_at_signals()
class Lost:
    def __del__(self): signal.raise_signal(signal.{name})
{place}
print("still here")
"""
PLACES = {
    "a function": "signal.raise_signal(signal.{name})",
    "a destructor": "Lost()",
    "a garbage collection": "gc.callbacks.append(lambda *_: Lost())\ngc.collect()",
    "a caught exception": "try: Lost()\nexcept BaseException: pass",
}


def run_python(code):
    """Run a program as from a terminal, where Ctrl-C is not ignored."""
    paths = os.pathsep.join(map(str, (ROOT, EXPERIMENTS, EXPERIMENTS / "benchmarks")))
    before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{code}"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_ends_a_program_where_an_exception_would_be_lost(name, place):
    before = f"import signal\nsignal.signal(signal.{name}, signal.SIG_DFL)\n"
    done = run_python(before + LOST.replace("{place}", PLACES[place]).replace("{name}", name))
    assert done.returncode == 128 + signal.Signals[name]
    assert done.stdout == ""
    assert done.stderr == "interrupted before the first step: nothing is saved\n"


def test_an_ignored_signal_stays_ignored():
    before = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    done = run_python(before + LOST.format(name="SIGHUP", place="Lost()"))
    assert (done.returncode, done.stdout) == (0, "still here\n")


def test_the_line_can_be_set():
    code = LOST.format(name="SIGINT", place="interrupts.say_when_interrupted(lambda: 'so')\nLost()")
    assert run_python(code).stderr == "so\n"


def test_a_program_that_did_not_ask_for_it_keeps_its_handlers():
    before = signal.getsignal(signal.SIGINT)
    interrupts.say_when_interrupted(lambda: "never")
    assert signal.getsignal(signal.SIGINT) is before


def catches(process, number):
    """Whether a process handles a signal; of Linux."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\s+(\w+)", status).group(1), 16) >> (number - 1) & 1


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("program", ["mnist_dsdc", "cifar_dsdc"])
def test_a_signal_at_any_time_ends_a_program_in_one_line(tmp_path, digits, program):
    """In the imports, in the start of JAX, in the making of the network, and while it trains."""
    model = {"mnist_dsdc": "mnist_tutorial", "cifar_dsdc": "keras_dilated"}[program]
    data = {"mnist_dsdc": str(digits), "cifar_dsdc": "shapes"}[program]
    flags = ["--model", model, "--dataset", data, "--limit", "512", "--epochs", "10000"]
    statuses = []
    for number, delay in enumerate((0, 0.2, 0.5, 0.8, 1.2, 1.8, 2.5, 3.5, 5, 8)):
        output = tmp_path / str(number)
        command = [sys.executable, str(EXPERIMENTS / f"{program}.py"), *flags, "--no-pictures"]
        process = subprocess.Popen(
            [*command, "--output", str(output)],
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not catches(process, signal.SIGTERM):
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
        assert error.count("\n") == 1, (delay, error)
        saved = (output / "config.json").exists()
        assert ("--resume" in error) == saved, (delay, error)
        statuses.append(process.returncode)
    assert statuses == [130] * 10


@pytest.mark.long
def test_a_benchmark_ends_with_one_line():
    code = """
import signal, benchmark
benchmark.run(benchmark.Flags, lambda config: signal.raise_signal(signal.SIGINT), str)
"""
    done = run_python(code)
    assert done.returncode == 128 + signal.SIGINT
    assert (done.stdout, done.stderr) == ("", "interrupted: the results are not complete\n")
