"""Every public function has entries in the tables of malformed calls, and enough of them.

Of training, only the functions that users call with values of their own.
"""

import dataclasses
import inspect
import types

from dilax import (
    _accelerate,
    _functions,
    algorithms,
    analysis,
    data,
    degridding,
    geometry,
    models,
    nn,
)
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
    test_functions: (_functions,),
    test_accelerate: (_accelerate, algorithms),
    test_training: (),
}  # fmt: skip

BESIDE = {
    # Their arguments are those of the convolutions in `test_functions`, and of lax: see
    # functions/test_drop_in_arguments.py.
    "canonical_geometry",
    "conv_general_dilated",
}
OF_FILES = {
    models: {"load", "save", "prune"},
    data: {
        *("load_masks", "load_boxes", "load_tagged", "load_texts", "load_sounds"),
        *("load_time_series", "load_videos", "read_pictures", "read_sound"),
    },
}
"""Functions of trained networks, of their files and of folders: see models/test_trained.py,
models/test_pruning.py, and in data/ test_mask_folders.py, test_box_folders.py, test_tagged.py,
test_texts.py, test_sounds.py, test_series.py, test_videos.py and test_photographs.py."""


def called_by_users(package: types.ModuleType) -> set[str]:
    """The public functions and modules of a package: not its records, networks and errors."""
    own = [name for name, value in vars(package).items() if defined_in(package, value)]
    names = [name for name in getattr(package, "__all__", own) if not name.startswith("_")]
    return {name for name in names if is_called(getattr(package, name), package)} - (
        BESIDE | OF_FILES.get(package, set())
    )


def defined_in(package: types.ModuleType, value: object) -> bool:
    return getattr(value, "__module__", "") == package.__name__


def is_called(value: object, package: types.ModuleType) -> bool:
    if not inspect.isclass(value):
        return inspect.isfunction(value)
    record = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
    return not (record or issubclass(value, Exception) or package is models)


def test_every_public_function_is_called_with_malformed_arguments() -> None:
    for table, packages in TABLES.items():
        called = {name.rpartition(".")[2] for name in table.CALLS}
        missing = set().union(*map(called_by_users, packages)) - called
        assert not missing, f"{table.__name__}: {missing}"


def test_every_argument_is_altered() -> None:
    """But for flags and names, and for what is another library's to check."""
    told = {"count_include_pad", "use_running_average", "name", "source"}
    for table in TABLES:
        for name, call in table.CALLS.items():
            fixed = set(call.arguments) - set(call.malformed) - told
            assert call.as_lax_says or not fixed, f"{name}: {fixed}"


def test_the_long_form_makes_thousands_of_malformed_calls() -> None:
    assert sum(len(table.CALLS) for table in TABLES) * EXAMPLES[True] >= 5000
