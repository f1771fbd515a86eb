"""Nothing of the evaluated patients reaches the normaliser; NaN stays a mask."""

import numpy as np
import pytest

from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.table import FeatureTable

NAMES = ("wt.log_volume", "wt.log_surface", "ncr.log_volume")


def table_of(seed=0, n_patients=40, changed=()):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n_patients):
        for visit in range(2):
            volume = rng.normal(9.0, 1.5)
            surface = 2 / 3 * volume + 1.6 + rng.normal(0, 0.1)
            necrosis = volume - 2 if number % 2 else float("nan")
            rows.append(
                {
                    "scan_id": f"s{number}-{visit}",
                    "patient_id": f"p{number}",
                    **dict(zip(NAMES, (volume, surface, necrosis), strict=True)),
                }
            )
    for row in rows:
        if row["patient_id"] in changed:
            row["wt.log_volume"] += 5
    return FeatureTable(tuple(rows), {}, dict.fromkeys(NAMES, "1"))


TRAIN = [f"p{number}" for number in range(30)]
TEST = [f"p{number}" for number in range(30, 40)]


@pytest.mark.parametrize("method", ["zscore", "robust"])
def test_training_targets_are_centred_and_scaled(method):
    table = table_of()
    normalizer = FeatureNormalizer(NAMES, method).fit(table, TRAIN, TEST)
    rows = [row for row in table.rows if row["patient_id"] in TRAIN]
    targets = np.array(
        [normalizer.transform(row, patient_id=row["patient_id"], split="train")[0] for row in rows]
    )
    known = np.array([normalizer.transform(row)[1] for row in rows])
    assert known[:, :2].all()
    assert known[:, 2].sum() == 30
    assert targets[:, 0].std() == pytest.approx(1.0, abs=0.25 if method == "robust" else 0.02)
    centre = np.median(targets[:, 0]) if method == "robust" else targets[:, 0].mean()
    assert centre == pytest.approx(0.0, abs=1e-6)


def test_change_of_a_test_patient_leaves_the_file_as_it_is(tmp_path):
    for name, table in (
        ("a", table_of()),
        ("b", table_of(changed=TEST[:1])),
        ("c", table_of(changed=TRAIN[:1])),
    ):
        fitted = FeatureNormalizer(NAMES, residualize={NAMES[1]: NAMES[0]}).fit(table, TRAIN, TEST)
        fitted.to_json(tmp_path / name)
    shuffled = FeatureNormalizer(NAMES, residualize={NAMES[1]: NAMES[0]}).fit(table_of(), TRAIN[::-1])
    shuffled.to_json(tmp_path / "d")
    texts = {name: (tmp_path / name).read_bytes() for name in "abcd"}
    assert texts["a"] == texts["b"] == texts["d"]
    assert texts["a"] != texts["c"]


def test_residual_does_not_know_its_covariate():
    table = table_of()
    normalizer = FeatureNormalizer(NAMES[:2], residualize={NAMES[1]: NAMES[0]}).fit(table, TRAIN)
    targets = np.array([normalizer.transform(row)[0] for row in table.rows if row["patient_id"] in TRAIN])
    assert abs(np.corrcoef(targets.T)[0, 1]) < 1e-6


def test_inverse_gives_the_values_back(tmp_path):
    table = table_of()
    FeatureNormalizer(NAMES, residualize={NAMES[1]: NAMES[0]}).fit(table, TRAIN).to_json(tmp_path / "n.json")
    normalizer = FeatureNormalizer.from_json(tmp_path / "n.json")
    for row in table.rows[-4:]:
        targets, known = normalizer.transform(row)
        back = normalizer.inverse_transform(targets, known)
        np.testing.assert_allclose([back[name] for name in NAMES], [row[name] for name in NAMES], rtol=1e-5)


def test_split_that_contradicts_the_fit_is_refused():
    normalizer = FeatureNormalizer(NAMES).fit(table_of(), TRAIN)
    row = table_of().rows[0]
    with pytest.raises(ValueError, match="split 'test' though it was among"):
        normalizer.transform(row, patient_id="p0", split="test")
    with pytest.raises(ValueError, match="split 'train' though it was not"):
        normalizer.transform(row, patient_id="p35", split="train")


WRONG = [
    (([*TRAIN, "p0"], ()), "distinct"),
    (([*TRAIN, "p99"], ()), "in the table"),
    ((TRAIN, ["p3"]), "not be evaluated"),
    (([], ()), "name a patient"),
    ((TRAIN[:5], ()), "at least 20 training scans"),
]


@pytest.mark.parametrize(("ids", "words"), WRONG)
def test_wrong_patients_are_refused(ids, words):
    with pytest.raises(ValueError, match=words):
        FeatureNormalizer(NAMES).fit(table_of(), *ids)


def test_constant_feature_is_an_error_not_a_scale_of_one():
    table = table_of()
    rows = tuple({**row, NAMES[1]: 4.0} for row in table.rows)
    with pytest.raises(ValueError, match=r"must vary, got the constant 4"):
        FeatureNormalizer(NAMES).fit(FeatureTable(rows, {}, table.units), TRAIN)


def test_use_before_fit_and_wrong_features_are_refused(tmp_path):
    with pytest.raises(ValueError, match="fitted first"):
        FeatureNormalizer(NAMES).transform({})
    with pytest.raises(ValueError, match="distinct"):
        FeatureNormalizer((*NAMES, NAMES[0]))
    with pytest.raises(ValueError, match="residualize"):
        FeatureNormalizer(NAMES, residualize={NAMES[0]: "wt.flatness"})
    with pytest.raises(ValueError, match="features must be among"):
        FeatureNormalizer(["wt.nothing"]).fit(table_of(), TRAIN)
    fitted = FeatureNormalizer(NAMES).fit(table_of(), TRAIN)
    with pytest.raises(ValueError, match="got none of"):
        fitted.transform({NAMES[0]: 1.0})
    with pytest.raises(ValueError, match="one scan"):
        fitted.inverse_transform(np.zeros((2, 3)))
    (tmp_path / "n.json").write_text("{}")
    with pytest.raises(ValueError, match="fitted normalizer"):
        FeatureNormalizer.from_json(tmp_path / "n.json")
