"""Comparing methods: who is paired with whom, what is computed from them, and what is refused."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import wingmark.schema
from wingmark.evaluation import Predictions, Report
from wingmark.evaluation.comparison import Comparison
from wingmark.evaluation.differences import DRAWS, rows_of
from wingmark.evaluation.methods import Method
from wingmark.protocol import Protocol

PROTOCOL = Protocol("dots/inter-ocular/v1", threshold=0.05)
FACES = 40
RANDOM = np.random.default_rng(7)
TARGET = np.array([(70, 60), (130, 62), (100, 95), (75, 130), (128, 132)]) + RANDOM.normal(0, 5, (FACES, 5, 2))
ID = np.array([f"{i:02d}.png#0" for i in range(FACES)])
GROUP = np.array([f"{i // 2:02d}.png" for i in range(FACES)])  # two faces in each photo
TAGS = np.array(["odd" if i % 2 else "" for i in range(FACES)])
EYES = np.linalg.norm(TARGET[:, 0] - TARGET[:, 1], axis=1)
HARD = RANDOM.uniform(0.02, 0.06, FACES)  # NME of each face, and what another method makes of it
OTHER = HARD + RANDOM.normal(-0.003, 0.008, FACES).clip(-0.015)


def write(path: Path, nme: np.ndarray, order: np.ndarray | slice = slice(None), **changed) -> Path:
    """Predictions that are off by nme (N,) in every landmark, in a run folder or a file."""
    fields = {"target": TARGET, "group": GROUP, "tags": TAGS, "protocol": PROTOCOL, **changed}
    protocol = fields.pop("protocol")
    rows = {
        "id": ID,
        "landmarks_image": TARGET + (nme * EYES)[:, None, None] * [0.6, 0.8],
        "valid": np.ones((FACES, 5), bool),
        **fields,
    }
    schema = wingmark.schema.get("five")
    rows["normalizer"] = protocol.normalizers(ID, rows["target"], rows["valid"], schema)
    found = Predictions(**{key: value[order] for key, value in rows.items()}, protocol=protocol, schema=schema)
    found.save(path if path.suffix else path / "predictions.npz")
    return path


def write_config(folder: Path, seed: int, **model) -> None:
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "logger": [{"init_args": {"save_dir": f"runs/{folder.name}"}}]},
        "model": {"codec": "Coordinates", **model},
        "data": {"batch_size": 8, "seed": seed, "cache": str(folder)},
        "name": folder.name,
        "runs": "runs",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def seeds(folder: Path, name: str, nmes: list[np.ndarray], **model) -> list[Path]:
    paths = [write(folder / f"{name}-seed{seed}", nme) for seed, nme in enumerate(nmes)]
    for seed, path in enumerate(paths):
        write_config(path, seed, **model)
    return paths


def scores(nmes: list[float]) -> list[float]:
    """NME, FR and AUC by definition."""
    count, t = len(nmes), PROTOCOL.threshold
    areas = [1 - nme / t if nme < t else 0.0 for nme in nmes]
    return [sum(nmes) / count, sum(nme > t for nme in nmes) / count, sum(areas) / count]


def seed_means(nme: np.ndarray, faces: list[int]) -> np.ndarray:
    """The scores (3,) of faces, averaged over the seeds of nme (S, N)."""
    return np.mean([scores([of_seed[i] for i in faces]) for of_seed in nme], axis=0)


def row(comparison: Comparison, method: str, subset: str, score: str):
    (found,) = [r for r in comparison.rows if (r.method, r.subset, r.score) == (method, subset, score)]
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_against_a_slow_bootstrap(tmp_path, count):
    nme = {"a": HARD + 0.002 * np.arange(count)[:, None], "b": OTHER + 0.001 * np.arange(count)[:, None] ** 2}
    paths = [path for name in "ab" for path in seeds(tmp_path, name, list(nme[name]), w=name)]
    comparison = Comparison.of(paths)
    names = [method.name for method in comparison.methods]
    assert names == (["a-seed0", "b-seed0"] if count == 1 else ["a", "b"])
    for subset, members in {"full": range(FACES), "odd": range(1, FACES, 2)}.items():
        photos = sorted({GROUP[i] for i in members})
        faces_of = {photo: [i for i in members if GROUP[i] == photo] for photo in photos}
        draw, noise = np.random.default_rng(0), np.zeros((DRAWS, 3))
        if count > 1:
            by_seed = [[scores([of_seed[i] for i in members]) for of_seed in nme[name]] for name in "ab"]
            pooled = np.sqrt((np.var(by_seed[0], axis=0, ddof=1) + np.var(by_seed[1], axis=0, ddof=1)) / 2)
            noise = pooled * (2 / count) ** 0.5 * np.random.default_rng(1).standard_t(2 * (count - 1), size=(DRAWS, 1))
        differences, own = [], []
        for k in range(DRAWS):
            faces = [i for g in draw.integers(len(photos), size=len(photos)) for i in faces_of[photos[g]]]
            a, b = (seed_means(nme[name], faces) for name in "ab")
            differences.append(b - a + noise[k])
            own.append(b)
        for column, score in enumerate(("nme", "fr", "auc")):
            found = row(comparison, names[1], subset, score)
            a, b = (seed_means(nme[name], list(members))[column] for name in "ab")
            assert found.value == pytest.approx(b, abs=1e-12)
            assert found.difference == pytest.approx(b - a, abs=1e-12)
            most = np.inf if score == "nme" else 1
            expected = np.quantile(np.clip([d[column] for d in differences], -most, most), [0.025, 0.975])
            assert found.difference_interval == pytest.approx(expected, abs=1e-12)
            if score != "fr":
                expected = np.quantile([d[column] for d in own], [0.025, 0.975])
                assert found.interval == pytest.approx(expected, abs=1e-12)
            low, high = found.difference_interval
            better = low > 0 if score == "auc" else high < 0
            assert found.verdict == ("within noise" if low <= 0 <= high else "better" if better else "worse")


def test_one_run_has_the_intervals_of_its_report(tmp_path):
    comparison = Comparison.of([write(tmp_path / "a", HARD), write(tmp_path / "b", OTHER)])
    for name in "ab":
        report = Report.of(Predictions.load(tmp_path / name / "predictions.npz"))
        for subset, expected in report.scores.items():
            for score in ("nme", "fr", "auc"):
                found = row(comparison, name, subset, score)
                assert found.value == pytest.approx(getattr(expected, score), abs=1e-12)
                assert found.interval == pytest.approx(getattr(expected, f"{score}_interval"), abs=1e-12)


def test_faces_are_paired_by_id(tmp_path):
    ordered = Comparison.of([write(tmp_path / "a", HARD), write(tmp_path / "b", OTHER)])
    shuffled = write(tmp_path / "x" / "b", OTHER, np.random.default_rng(1).permutation(FACES))
    again = Comparison.of([tmp_path / "a", shuffled / "predictions.npz"])
    assert (ordered.id == again.id).all() and (ordered.methods[1].nme == again.methods[1].nme).all()
    assert ordered.rows == again.rows


def test_identical_runs_do_not_differ(tmp_path):
    comparison = Comparison.of([write(tmp_path / "a", HARD), write(tmp_path / "b", HARD)])
    found = [r for r in comparison.rows if r.method == "b"]
    assert len(found) == 6
    assert {(r.difference, r.difference_interval, r.verdict) for r in found} == {(0.0, (0.0, 0.0), "within noise")}


def test_a_handful_of_changed_faces_proves_nothing():
    """Five failures that one method alone has can be chance (2 in 2^5), though every resampled test set has some."""
    everyone, group = np.ones(100, bool), np.arange(100).astype(str)
    verdicts = []
    for count in (5, 12):
        nme = np.full((1, 100), 0.01)
        failing = nme.copy()
        failing[0, :count] = 1.0
        methods = [Method(name, [name], [None], values) for name, values in (("a", nme), ("b", failing))]
        verdicts.append(rows_of(methods, 1, "full", everyone, group, PROTOCOL.threshold)[1].verdict)
    assert verdicts == ["within noise", "worse"]


def test_an_unstable_third_method_does_not_blur_the_others():
    random = np.random.default_rng(0)
    steady = [HARD + 0.01 * base + random.normal(0, 1e-5, (3, 1)) for base in (0, 1)]
    wild = HARD + random.normal(0, 0.02, (3, 1))
    methods = [Method(name, [name] * 3, [0, 1, 2], nme) for name, nme in zip("abc", [*steady, wild], strict=True)]
    everyone = np.ones(FACES, bool)
    both, three = (rows_of(chosen, 1, "full", everyone, ID, PROTOCOL.threshold) for chosen in (methods[:2], methods))
    assert both == three and both[0].verdict == "worse"


def test_a_constant_gain_is_better_and_its_loss_worse(tmp_path):
    paths = write(tmp_path / "a", HARD), write(tmp_path / "b", HARD - 0.01)
    assert row(Comparison.of(paths), "b", "full", "nme").difference_interval == pytest.approx((-0.01, -0.01), abs=1e-12)
    # Of FR only few faces can tell, those that cross the threshold.
    assert {r.verdict for r in Comparison.of(paths).rows if r.method == "b" and r.score != "fr"} == {"better"}
    assert {r.verdict for r in Comparison.of(paths[::-1]).rows if r.method == "a" and r.score != "fr"} == {"worse"}


def test_a_face_at_the_threshold_has_not_failed():
    at = Method("a", ["a"], [None], np.full((1, 20), PROTOCOL.threshold))
    above = Method("b", ["b"], [None], np.full((1, 20), np.nextafter(PROTOCOL.threshold, 1)))
    everyone, group = np.ones(20, bool), np.arange(20).astype(str)
    _, fr, auc = rows_of([at, above], 1, "full", everyone, group, PROTOCOL.threshold)
    assert (fr.value, fr.difference, fr.verdict) == (1.0, 1.0, "worse")
    assert (auc.value, auc.difference, auc.verdict) == (0.0, 0.0, "within noise")
    assert rows_of([at, at], 1, "full", everyone, group, PROTOCOL.threshold)[1].value == 0.0


def test_repeated_faces_of_a_group_add_no_certainty():
    nme = np.stack([HARD, OTHER])
    once = [Method(name, [name], [None], nme[i : i + 1]) for i, name in enumerate("ab")]
    four = [Method(name, [name], [None], np.repeat(nme[i : i + 1], 4, axis=1)) for i, name in enumerate("ab")]
    members = np.ones(4 * FACES, bool)

    def width(methods, group):
        found = rows_of(methods, 1, "full", members[: len(group)], group, PROTOCOL.threshold)[0]
        return np.diff(found.difference_interval)[0]

    assert width(four, np.repeat(ID, 4)) == pytest.approx(width(once, ID), rel=1e-9)
    # As if they were 4 N different faces, the interval would be half as wide; 1000 draws know widths to some 5 %.
    assert width(four, np.arange(4 * FACES).astype(str)) == pytest.approx(width(once, ID) / 2, rel=0.15)


def test_few_groups_give_no_verdict(tmp_path):
    few = {"group": np.array([f"{i % 5}" for i in range(FACES)])}
    comparison = Comparison.of([write(tmp_path / "a", HARD, **few), write(tmp_path / "b", HARD - 0.01, **few)])
    assert {r.verdict for r in comparison.rows if r.method == "b"} == {"too few photos"}


TRIALS = 200
# The share of 200 intervals that hold the truth has a standard deviation of sqrt(0.95 * 0.05 / 200) = 1.5 %.
TOLERANCE = 3 * np.sqrt(0.95 * 0.05 / TRIALS)


def population(random: np.random.Generator) -> np.ndarray:
    """NMEs (2, 100000) of two methods on the same faces, some of them hard for both."""
    hard = random.lognormal(np.log(0.035), 0.35, 100_000)
    return hard * random.lognormal([[0.0], [-0.03]], 0.15, (2, 100_000))


def covered(trained_nmes, truth: list[float], trials: int = TRIALS) -> np.ndarray:
    """The share of trials (3,) in which the interval of the difference holds the truth, by score."""
    everyone, group, hits = np.ones(100, bool), np.arange(100).astype(str), []
    for _ in range(trials):
        methods = [Method(name, [name], [None], nme) for name, nme in zip("ab", trained_nmes(), strict=True)]
        rows = rows_of(methods, 1, "full", everyone, group, PROTOCOL.threshold)
        ends = [found.difference_interval for found in rows]
        hits.append([low <= true <= high for (low, high), true in zip(ends, truth, strict=True)])
    return np.mean(hits, axis=0)


def test_intervals_hold_the_true_difference():
    random = np.random.default_rng(0)
    faces = population(random)
    a, b = (np.array(scores(nme.tolist())) for nme in faces)
    share = covered(lambda: faces[:, None, random.integers(100_000, size=100)], (b - a).tolist())
    assert (abs(share - 0.95) < TOLERANCE).all(), share


def test_intervals_over_seeds_hold_the_true_difference():
    random = np.random.default_rng(1)
    faces = population(random)
    truth = (faces[1] - faces[0]).mean()

    def three_seeds():
        sampled = faces[:, None, random.integers(100_000, size=100)]
        return sampled + random.normal(0, [[[0.002]], [[0.0005]]], (2, 3, 1))  # a training is off on all faces

    share = covered(three_seeds, [truth, np.nan, np.nan])[0]
    assert share > 0.95 - TOLERANCE, share
    # What it is for: of one training each, whose noise is unknown, far fewer intervals hold.
    share = covered(lambda: three_seeds()[:, :1], [truth, np.nan, np.nan], trials=50)[0]
    assert share < 0.75, share


def test_seeds_and_names(tmp_path):
    three = seeds(tmp_path, "wing", [HARD, HARD + 0.001, HARD + 0.002])
    other = seeds(tmp_path, "wing_w6", [OTHER], w=6)
    comparison = Comparison.of([three[0], *other, three[1], write(tmp_path / "theirs.npz", OTHER), three[2]])
    found = [(method.name, method.seeds) for method in comparison.methods]
    assert found == [("wing", [0, 1, 2]), ("wing_w6-seed0", [0]), ("theirs", [None])]
    assert comparison.note == "one seed of wing_w6-seed0, theirs: noise of training is taken from the other method"
    assert Comparison.of(three).note == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wing-seed10", "wing-seed11"], "wing"),
        (["wing_a", "wing_b"], "wing"),
        (["w6_seed_0", "w6_seed_1"], "w6"),
        (["linseed-1", "linseed-2"], "linseed"),
        (["seed1", "seed2"], "seed1"),
    ],
)
def test_the_name_of_a_method_is_what_its_runs_share(tmp_path, names, expected):
    for seed, name in enumerate(names):
        write_config(write(tmp_path / name, HARD + 0.001 * seed), seed)
    assert [method.name for method in Comparison.of([tmp_path / name for name in names]).methods] == [expected]


def test_another_decoder_of_the_same_run_is_another_method(tmp_path):
    (run,) = seeds(tmp_path, "wing", [HARD])
    further = write(run / "test" / "dots", OTHER)
    (run / "metrics.json").write_text(json.dumps({"checkpoint": "x/best.ckpt", "codec": "Taylor"}))
    (further / "metrics.json").write_text(json.dumps({"checkpoint": "x/best.ckpt", "codec": "Argmax"}))
    comparison = Comparison.of([run, further])
    assert [(m.name, m.seeds) for m in comparison.methods] == [("wing-seed0", [0]), ("wing-seed0/dots", [0])]
    (further / "metrics.json").write_text((run / "metrics.json").read_text())
    with pytest.raises(ValueError, match="same settings and the same seed 0"):
        Comparison.of([run, further])


def test_what_was_not_tested_alike_is_refused(tmp_path):
    a = write(tmp_path / "a", HARD)
    moved, fewer, flags = TARGET.copy(), np.arange(3, FACES), np.ones((FACES, 5), bool)
    moved[4, 2] += 0.5
    flags[6, 3] = False
    cases = {
        "protocol": write(tmp_path / "protocol", HARD, protocol=Protocol("dots/other", threshold=0.08)),
        "fewer": write(tmp_path / "fewer", HARD, fewer),
        "target": write(tmp_path / "target", HARD, target=moved),
        "valid": write(tmp_path / "valid", HARD, valid=flags),
        "tags": write(tmp_path / "tags", HARD, tags=TAGS[::-1]),
        "a": write(tmp_path / "x" / "a", HARD),
    }
    differ = "true landmarks or normalizers of .*a and .*{} differ in 1 of 40 faces: {}"
    says = {
        "protocol": r"a was tested by protocol dots/inter-ocular/v1#\w+, .*protocol by dots/other#\w+;",
        "fewer": r"fewer lacks 3 of 40 faces: 00.png#0 \(row 0\), 01.png#0 .* of .*a; methods",
        "target": differ.format("target", "04.png#0"),
        "valid": differ.format("valid", "06.png#0"),
        "tags": "tags in .*a and .*tags differ in 40 of 40 faces",
        "a": "two methods by the same name 'a'; rename",
    }
    for case, path in cases.items():
        for pair in ([a, path], [path, a]) if case == "fewer" else ([a, path],):
            with pytest.raises(ValueError, match=says[case]):
                Comparison.of(pair)
    with pytest.raises(ValueError, match="at least two runs, got 1"):
        Comparison.of([a])
    with pytest.raises(FileNotFoundError, match="gone"):
        Comparison.of([a, tmp_path / "gone"])


def test_files_without_groups_take_those_of_the_others(tmp_path):
    bare = {"group": ID, "tags": np.full(FACES, "")}
    comparison = Comparison.of([write(tmp_path / "theirs.npz", OTHER, **bare), write(tmp_path / "a", HARD)])
    assert (comparison.group == GROUP).all() and list(comparison.subsets) == ["full", "odd"]


def test_what_is_written_and_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "a_method_with_a_name_that_is_longer_than_the_terminal_is_wide_and_then_some_more"
    paths = [*seeds(tmp_path, "wing", [HARD, HARD + 0.004]), write(tmp_path / long, OTHER)]
    comparison = Comparison.of(paths)
    comparison.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ced.png", "comparison.csv", "comparison.json"}
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["protocol_digest"] == PROTOCOL.digest
    assert Protocol.from_dict(content["protocol"]) == PROTOCOL
    assert content["methods"][0] == {"name": "wing", "runs": [str(path) for path in paths[:2]], "seeds": [0, 1]}
    assert content["subsets"]["odd"] == {"faces": 20, "groups": 20}
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert len(rows) == len(content["rows"]) == 2 * 2 * 3
    for written, kept, found in zip(rows, content["rows"], comparison.rows, strict=True):
        assert float(written["value"]) == kept["value"] == found.value
        assert kept["value"] == pytest.approx(np.mean(kept["by_seed"]), abs=1e-12)
        assert written["verdict"] == (found.verdict or "")
    ends = [float(rows[-1][f"difference_{end}"]) for end in ("low", "high")]
    assert ends == content["rows"][-1]["difference_interval"]
    assert cv2.imread(str(tmp_path / "out" / "ced.png")).std() > 10

    comparison.print()
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert PROTOCOL.label in out and "40 faces in 20 groups" in out and "A = wing (seeds 0, 1)" in out
    shown = row(comparison, long, "odd", "nme")
    low, high = shown.difference_interval
    assert f"{100 * shown.difference:+.2f} {100 * low:+.2f} to {100 * high:+.2f}" in " ".join(out.split())
    assert f"{long} : noise of training is taken from the other method" in " ".join(out.split())
