import numpy as np
import pytest

from revoxel.asl.simulation.phantom import PhantomConfig, PhantomKind, Tissue, make_phantom


def drawn(config: PhantomConfig, seeds=range(12)):
    return [make_phantom(config, np.random.default_rng(seed)) for seed in seeds]


@pytest.mark.parametrize("kind", PhantomKind)
def test_same_seed_same_phantom_and_other_seed_another(kind):
    first, again, other = drawn(PhantomConfig(kind), seeds=(3, 3, 4))
    np.testing.assert_array_equal(first.cbf, again.cbf)
    np.testing.assert_array_equal(first.att, again.att)
    assert not np.array_equal(first.cbf, other.cbf)


@pytest.mark.parametrize("kind", PhantomKind)
def test_maps_are_zero_outside_the_mask_and_plausible_inside(kind):
    for phantom in drawn(PhantomConfig(kind)):
        assert phantom.cbf.dtype == phantom.att.dtype == np.float32
        assert not phantom.cbf[~phantom.mask].any()
        assert not phantom.att[~phantom.mask].any()
        assert (phantom.tissue[~phantom.mask] == Tissue.BACKGROUND).all()
        assert (phantom.tissue[phantom.mask] != Tissue.BACKGROUND).all()
        assert phantom.cbf[phantom.mask].max() <= 200
        assert 100 <= phantom.att[phantom.mask].min() <= phantom.att[phantom.mask].max() <= 3300


def test_folded_brain_has_the_tissues_of_a_brain():
    phantoms = drawn(PhantomConfig("folded"), range(40))
    tissue = np.concatenate([phantom.tissue[phantom.mask] for phantom in phantoms])
    cbf = np.concatenate([phantom.cbf[phantom.mask] for phantom in phantoms])
    grey, white, fluid = (np.mean(tissue == kind) for kind in (1, 2, 3))
    assert 0.4 < grey < 0.6
    assert 0.3 < white < 0.5
    assert 0.04 < fluid < 0.15
    assert 1.8 < cbf[tissue == Tissue.GREY_MATTER].mean() / cbf[tissue == Tissue.WHITE_MATTER].mean() < 3


def test_folded_brain_has_up_to_three_lesions():
    numbers = {int(phantom.lesion.max()) for phantom in drawn(PhantomConfig("folded"), range(40))}
    assert {0, 1} <= numbers <= {0, 1, 2, 3}


def test_seed_phantom_has_one_cbf_per_tissue_but_for_texture():
    # White texture of 3 ml/100g/min, blurred by one voxel: 3 / (2 sqrt(pi)) = 0.85.
    phantom = next(p for p in drawn(PhantomConfig("seed", size=128)) if not p.lesion.any())
    grey = phantom.tissue == Tissue.GREY_MATTER
    inner = grey & np.roll(grey, 5, 0) & np.roll(grey, -5, 0) & np.roll(grey, 5, 1) & np.roll(grey, -5, 1)
    assert phantom.cbf[inner].std() == pytest.approx(0.85, abs=0.1)


def test_uniform_phantom_takes_its_values():
    config = PhantomConfig("uniform", size=16, uniform_cbf_ml_100g_min=40, uniform_att_ms=900)
    phantom = make_phantom(config, np.random.default_rng(0))
    assert (phantom.cbf == 40).all()
    assert (phantom.att == 900).all()


def test_finer_grid_shows_the_same_size_of_brain():
    coarse = np.mean([phantom.mask.mean() for phantom in drawn(PhantomConfig("folded", 64))])
    fine = np.mean([phantom.mask.mean() for phantom in drawn(PhantomConfig("folded", 128, voxel_scale=2))])
    assert fine == pytest.approx(coarse, abs=0.05)


def test_finer_grid_has_thicker_folds_in_voxels():
    def edges(phantom):
        grey = phantom.tissue == Tissue.GREY_MATTER
        return (grey[1:] != grey[:-1]).sum() / phantom.mask.sum()

    same_voxels = np.mean([edges(phantom) for phantom in drawn(PhantomConfig("folded", 128))])
    finer = np.mean([edges(phantom) for phantom in drawn(PhantomConfig("folded", 128, voxel_scale=2))])
    assert finer < 0.7 * same_voxels


@pytest.mark.parametrize("bad", [{"kind": "cube"}, {"size": 4}, {"voxel_scale": 0}])
def test_impossible_phantom_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        PhantomConfig(**bad)
