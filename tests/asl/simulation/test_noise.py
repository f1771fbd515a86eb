import numpy as np
import pytest

from revoxel.asl.simulation.noise import AslNoise, add_noise, control_and_label, reference_signal

SHAPE = (12, 80, 80)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_reference_signal_is_the_formula_of_pcasl():
    # 2 a f T1 / lambda (exp(-PLD/T1) - exp(-(LD+PLD)/T1)), f = 60/6000 ml/g/s, Alsop 2015.
    expected = 2 * 0.85 * 0.01 * 1.65 / 0.9 * (np.exp(-2 / 1.65) - np.exp(-3.8 / 1.65))
    assert reference_signal() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
@pytest.mark.parametrize("snr", [3, 10, 30])
def test_snr60_is_reference_signal_over_the_spread_of_a_difference_image(kind, snr):
    clean = np.full(SHAPE, reference_signal(), np.float32)
    noisy, sigma = add_noise(clean, AslNoise(kind, snr, components=("thermal",)), rng())
    assert sigma == pytest.approx(reference_signal() / snr)
    assert noisy.std() == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("snr", [3, 10])
def test_rician_noise_on_five_percent_of_m0_hardly_biases_the_difference(snr):
    # Control and label lie far above the noise: the magnitude's bias sigma^2/(2S) nearly cancels.
    clean = np.full((48, 128, 128), reference_signal(), np.float32)
    noisy, _ = add_noise(clean, AslNoise("rician", snr, components=("thermal",)), rng())
    assert noisy.mean() == pytest.approx(reference_signal(), abs=0.004 * reference_signal())


def test_rician_noise_on_hardly_any_static_tissue_biases_the_difference():
    clean = np.full(SHAPE, reference_signal(), np.float32)
    noise = AslNoise("rician", 3, static_fraction=reference_signal() * 0.05, components=("thermal",))
    noisy, _ = add_noise(clean, noise, rng())
    assert abs(noisy.mean() / reference_signal() - 1) > 0.05


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_control_and_label_have_noise_of_their_own(kind):
    clean = np.zeros(SHAPE, np.float32)
    control, label = control_and_label(clean, AslNoise(kind, components=("thermal",)), rng())
    assert abs(np.corrcoef(control.ravel(), label.ravel())[0, 1]) < 0.02
    assert control.mean() == pytest.approx(0.05, rel=0.01)


def test_physio_and_drift_shift_whole_images_by_a_fraction_of_sigma():
    noise = AslNoise(components=("physio", "drift"))
    noisy, sigma = add_noise(np.zeros(SHAPE, np.float32), noise, rng())
    per_image = noisy[:, 0, 0]
    assert np.ptp(noisy, axis=(1, 2)).max() == 0
    assert 0 < np.abs(per_image).max() < 0.4 * sigma


def test_drift_alone_changes_control_from_image_to_image():
    control, _ = control_and_label(np.zeros(SHAPE, np.float32), AslNoise(components=("drift",)), rng())
    steps = np.diff(control[:, 0, 0])
    assert (np.sign(steps) == np.sign(steps[0])).all()


@pytest.mark.parametrize(
    "bad",
    [{"kind": "pink"}, {"snr": 0}, {"snr": float("inf")}, {"static_fraction": 0}, {"components": ("x",)}],
)
def test_impossible_noise_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        AslNoise(**bad)
