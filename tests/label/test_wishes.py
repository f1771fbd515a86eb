"""What a client may ask for."""

import pytest

from revoxel.core.pulses import Pulse
from revoxel.label.refusals import RefusedError
from revoxel.label.wishes import InferWishes, TrainWishes


def test_nothing_asked_gives_the_defaults():
    assert InferWishes.read("") == InferWishes.read("{}") == InferWishes.read(None) == InferWishes()


def test_choices_of_the_stock_client_are_understood():
    wishes = InferWishes.read('{"deliver": "datastore", "device": "cuda:0", "client_id": "user-xyz"}')
    assert (wishes.deliver, wishes.device, wishes.pulse) == ("datastore", "cuda:0", "auto")
    assert InferWishes.read({"pulse": "t2f"}).pulse is Pulse.t2f


@pytest.mark.parametrize(
    "name",
    ["image", "image_path", "experts", "label", "result_extension", "config_file", "bundle_root", "model"],
)
def test_params_cannot_name_files(name):
    with pytest.raises(RefusedError, match="Files and configurations cannot be named") as error:
        InferWishes.read({name: "/etc/passwd"})
    assert error.value.status == 400


@pytest.mark.parametrize(
    "params", ["[]", "1", '"x"', "{", '{"pulse": "t9"}', '{"device": "cuda; rm"}', '{"weights": "/etc"}']
)
def test_wrong_values_are_refused(params):
    with pytest.raises(RefusedError, match="params"):
        InferWishes.read(params)


@pytest.mark.parametrize("value", ["$__import__('os').getcwd()", "@manifest", "%x.yaml::y", None, [1]])
@pytest.mark.parametrize("name", ["max_epochs", "learning_rate", "seed"])
def test_expressions_never_reach_a_configuration(name, value):
    with pytest.raises(RefusedError, match=name):
        TrainWishes.read({name: value})


@pytest.mark.parametrize("name", ["manifest", "out_root", "train#trainer#max_epochs", "$x", "start_from"])
def test_only_listed_values_of_a_training_can_be_set(name):
    with pytest.raises(RefusedError, match="must be among"):
        TrainWishes.read({name: 1})


@pytest.mark.parametrize(
    "values", [{"max_epochs": 0}, {"learning_rate": -1}, {"learning_rate": float("nan")}, {"seed": -1}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(RefusedError):
        TrainWishes.read(values)


def test_values_become_those_of_the_training_graph():
    assert TrainWishes.read({"max_epochs": 2, "seed": 1}).values() == {
        "epochs": 2,
        "learning_rate": 1e-4,
        "seed": 1,
    }
