"""Every public function stands in a table of malformed calls, and there are enough of them.

Of training, only the functions that users call with values of their own.
"""

import inspect
import types

import dilax
from dilax import algorithms, analysis, data, degridding, geometry, models, nn
from dilax.data import augment
from tests.malformed import (
    test_accelerate,
    test_data,
    test_degridding,
    test_functions,
    test_geometry,
    test_nn,
    test_training,
)
from tests.malformed.calls import EXAMPLES

TABLES = {
    test_degridding: (degridding,),
    test_data: (data, augment),
    test_geometry: (analysis, geometry),
    test_nn: (models, nn),
    test_functions: (),
    test_accelerate: (dilax, algorithms),
    test_training: (),
}  # fmt: skip

# What holds checked values, and is made by dilax: not called by people, or called as a function.
RECORDS = {
    "analysis": {
        "ArrayField", "AxisField", "ReceptiveField", "Layer", "StackField", "Coverage",
        "EffectiveField", "Cost", "LayerCost",
    },
    "degridding": {"ASPPParams", "EESPParams"},
    "data": {"DataError"},
    "geometry": {"ConvGeometry"},
    "algorithms": {"Algorithm"},
    "models": {
        "Classifier", "MnistDSDC", "MnistTextbook", "MnistTutorial", "CifarCNN", "CifarDSDCN",
        "CifarDSDCNWide", "CifarContext", "CifarDRN", "CifarDSDC", "CifarEESP", "KerasDilated",
        "KerasSeparable", "Tiniest", "VGG16Dilated",
    },
    "dilax": {
        "Activation", "BatchNormParams", "DilatedBlockParams", "SeparableBlockParams",
        "Explanation", "Finding",
    },
}  # fmt: skip


def callables(room: types.ModuleType) -> set[str]:
    """The public functions and classes of a room, without its records."""
    name = room.__name__.rpartition(".")[2]
    own = [key for key, value in vars(room).items() if value_of(value) == room.__name__]
    names = [key for key in getattr(room, "__all__", own) if not key.startswith("_")]
    found = {key for key in names if is_callable(getattr(room, key))}
    return found - RECORDS.get(name, set())


def value_of(value: object) -> str:
    return getattr(value, "__module__", "")


def is_callable(value: object) -> bool:
    return inspect.isfunction(value) or inspect.isclass(value)


def test_every_public_function_is_called_with_malformed_arguments() -> None:
    for table, rooms in TABLES.items():
        called = {name.rpartition(".")[2] for name in table.CALLS}
        public = set().union(*map(callables, rooms))
        if table in (test_functions, test_training):
            public = called
        elif table is test_accelerate:
            public -= {name.rpartition(".")[2] for name in test_functions.CALLS}
        assert called == public, f"{table.__name__}: {called ^ public}"


def test_every_argument_is_altered() -> None:
    """But for flags and names, and for what is another library's to check."""
    told = {"count_include_pad", "use_running_average", "name", "source"}
    for table in TABLES:
        for name, call in table.CALLS.items():
            fixed = set(call.arguments) - set(call.malformed) - told
            assert call.as_lax_says or not fixed, f"{name}: {fixed}"


def test_the_long_form_makes_thousands_of_malformed_calls() -> None:
    assert sum(len(table.CALLS) for table in TABLES) * EXAMPLES[True] >= 5000
