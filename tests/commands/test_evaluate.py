"""`wingmark evaluate` on files of others: everything of the report without a model."""

import json
from pathlib import Path

import numpy as np
import pytest

from wingmark.cli import main


def random_faces(faces: int) -> dict[str, np.ndarray]:
    """98 landmarks per face, errors as spread out as those of a real test: most small, some far above the threshold."""
    random = np.random.default_rng(7)
    target = random.uniform(0, 400, (faces, 98, 2))
    size = 10 * np.exp(random.normal(0, 0.6, (faces, 1, 1)))
    return {
        "id": np.array([f"photo{i // 2}.jpg#{i % 2}" for i in range(faces)]),
        "landmarks_image": target + size * random.standard_normal(target.shape),
        "target": target,
        "valid": random.random((faces, 98)) < 0.9,
        "group": np.array([f"photo{i // 2}" for i in range(faces)]),
        "tags": np.array([";".join(t for t in ("pose", "blur") if random.random() < 0.3) for _ in range(faces)]),
    }


def loop(content: dict[str, np.ndarray], threshold: float) -> dict[str, tuple[int, float, float, float]]:
    """Faces, NME, FR and AUC of every subset by the definitions; the box of the annotated landmarks as normalizer."""
    nmes: dict[str, list[float]] = {}
    rows = zip(*(content[key] for key in ("landmarks_image", "target", "valid", "tags")), strict=True)
    for found, target, valid, tags in rows:
        xs = [float(x) for (x, _), known in zip(target, valid, strict=True) if known]
        ys = [float(y) for (_, y), known in zip(target, valid, strict=True) if known]
        size = ((max(xs) - min(xs)) * (max(ys) - min(ys))) ** 0.5
        total = 0.0
        for (x, y), (u, v), known in zip(found, target, valid, strict=True):
            if known:
                total += float((x - u) ** 2 + (y - v) ** 2) ** 0.5
        for name in ["full", *filter(None, str(tags).split(";"))]:
            nmes.setdefault(name, []).append(total / len(xs) / size)
    scores = {}
    for name, values in nmes.items():
        failures = sum(value > threshold for value in values)
        area = sum(threshold - value for value in values if value < threshold) / threshold
        scores[name] = len(values), sum(values) / len(values), failures / len(values), area / len(values)
    return scores


@pytest.fixture
def by_box(tmp_path) -> Path:
    path = tmp_path / "box.yaml"
    path.write_text("name: random/box/v1\nnormalizer: box_size\nthreshold: 0.05\nfaces: {full: 1000}\n")
    return path


def test_a_thousand_faces_against_a_loop(tmp_path, by_box, capsys):
    content = random_faces(1000)
    np.savez(tmp_path / "theirs.npz", **content)
    main(["evaluate", "--predictions", str(tmp_path / "theirs.npz"), "--protocol", str(by_box)])
    out = capsys.readouterr().out
    folder = tmp_path / "evaluation" / "random_box_v1"
    written = json.loads((folder / "metrics.json").read_text())
    expected = loop(content, 0.05)
    assert set(written["scores"]) == set(expected) == {"full", "pose", "blur"}
    for name, (faces, nme, fr, auc) in expected.items():
        score = written["scores"][name]
        assert score["faces"] == faces and 0.02 < fr < 0.98
        assert [score["nme"], score["fr"], score["auc"]] == pytest.approx([nme, fr, auc], abs=1e-9)
    assert written["failed_checks"] == [] and written["protocol"]["name"] == "random/box/v1"
    assert f"random/box/v1#{written['protocol_digest']}" in out
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "faces.csv", "pictures"}
    assert {path.name for path in (folder / "pictures").iterdir()} == {"ced.png", "landmarks.png"}


def test_missing_faces_are_loud(tmp_path, by_box, capsys):
    content = random_faces(999)
    np.savez(tmp_path / "theirs.npz", **content)
    main(
        ["evaluate", "--predictions", str(tmp_path / "theirs.npz"), "--protocol", str(by_box), "--output"]
        + [str(tmp_path / "there")]
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "CHECK FAILED: these are not the faces of the published test list, do not compare: full 999 of 1000" in out
    assert (tmp_path / "there" / "metrics.json").is_file()


def test_errors_end_in_one_sentence(tmp_path):
    np.savez(tmp_path / "theirs.npz", **random_faces(4))
    for args, says in [
        (["--predictions", "none.npz"], "there are no predictions none.npz"),
        (["--predictions", str(tmp_path / "theirs.npz")], "the file names no protocol; say by which one"),
        (["--predictions", str(tmp_path / "theirs.npz"), "--protocol", "wflw"], "protocol 'wflw' is neither built in"),
    ]:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *args])
        assert says in str(end.value) and "\n" not in str(end.value)


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(f"    {name} " in out for name in ("fit", "validate", "test", "predict", "evaluate"))
