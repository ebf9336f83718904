"""What jobs ask a cluster for."""

from libretto.config.resources import sampling_mb, training_mb, training_minutes
from libretto.config.systems import systems


def test_larger_models_ask_for_more(config):
    for asked in (training_mb, training_minutes):
        amt, small, large = (asked(config, name) for name in ("amt-weighted", "llama-1b", "llama-3b-amt"))
        assert amt < small < large == asked(config, "llama-3b")


def test_a_base_model_of_your_own_asks_for_as_much_as_the_largest(config):
    config["variants"]["amt"]["base"] = "my-own"
    assert training_mb(config, "amt") == training_mb(config, "llama-3b")


def test_sampling_asks_by_its_variant_or_by_the_published_model(config):
    rows = systems(config)
    assert sampling_mb(config, rows["amt-unconditional-t1.0"]) == sampling_mb(config, rows["amt-t1.0"])
    assert sampling_mb(config, rows["llama-3b-t1.1"]) == training_mb(config, "llama-3b") // 2
