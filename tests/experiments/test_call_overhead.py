"""The overhead of calls: every comparison leaves a row, and finds JAX's caches empty."""

import json

import call_overhead
import jax
import pytest
from flax import nnx

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


class Tiny(nnx.Module):
    """A network that compiles at once."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.head = nnx.Linear(1, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.head(images.mean(axis=(1, 2)))


@pytest.mark.long
def test_every_comparison_leaves_a_row(tmp_path, capsys, monkeypatch, long):
    if not long:
        monkeypatch.setattr(call_overhead, "MnistDSDC", Tiny)
        monkeypatch.setattr(call_overhead, "StockMnistDSDC", lambda model: model)
    output = tmp_path / "record.json"
    flags = "--rounds 2 --steps 2 --traces 1 --compiles 1 --depth 1 --batch-size 4"
    assert call_overhead.main([*flags.split(), "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    names = [row["name"] for row in record["rows"]]
    assert names[:2] == ["eager `depthwise_conv`", "eager `conv_general_dilated`"]
    assert sum("tracing and lowering 1 separable" in name for name in names) == 2
    assert "compiling" in names[-1]
    assert [row["ratio"]["n"] for row in record["rows"]] == [2, 2, 2, 2, 1, 1, 1]
    assert [row["at_most"] for row in record["rows"]] == [1.5, 1.5, None, None, 1.2, 1.2, 1.2]
    printed = capsys.readouterr().out
    assert "µs" in printed and all(name in printed for name in names)


@pytest.mark.long
def test_a_cold_turn_traces_anew():
    traced = []
    function = jax.jit(lambda x: traced.append(x) or x)
    turn = call_overhead.cold(lambda: function(1.0))
    turn()
    turn()
    assert len(traced) == 2


@pytest.mark.parametrize(
    "milliseconds, said", [(0.1234, "123 µs"), (12.34, "12.3 ms"), (4321.0, "4.3 s")]
)
def test_a_time_has_the_unit_that_suits_it(milliseconds, said):
    assert call_overhead.duration(milliseconds) == said
