from dataclasses import replace

import numpy as np
import pytest

from wingmark.evaluation.scores import Scores, failed_checks
from wingmark.protocol import Protocol

PROTOCOL = Protocol("p", threshold=0.05, parts=("easy", "hard"))


def scores_of(nme: np.ndarray) -> Scores:
    return Scores.of(nme, np.arange(len(nme)), 0.05)


@pytest.fixture
def scores() -> dict[str, Scores]:
    nme = np.random.default_rng(0).gamma(4, 0.01, 30)
    return {"full": scores_of(nme), "easy": scores_of(nme[:20]), "hard": scores_of(nme[20:])}


def test_failures_count_strictly_above():
    score = scores_of(np.array([0.04, 0.05, 0.06]))
    assert (score.faces, score.nme, score.fr, score.auc) == pytest.approx((3, 0.05, 1 / 3, 0.2 / 3))


def test_percentiles_are_where_the_ced_gets_there():
    """P90 is the smallest NME that 90 % of the faces do not exceed."""
    nme = np.random.default_rng(1).permutation(np.arange(1, 201) / 1000)
    score = scores_of(nme)
    assert (score.p90, score.p95, score.p99) == (0.180, 0.190, 0.198)
    for share, value in [(0.9, score.p90), (0.95, score.p95), (0.99, score.p99)]:
        assert (nme <= value).mean() >= share > (nme < value).mean()


def test_intervals_hold_their_score(scores):
    for name in ("full", "easy"):
        for key in ("nme", "fr", "auc"):
            low, high = getattr(scores[name], f"{key}_interval")
            assert low < getattr(scores[name], key) < high


def test_few_groups_have_no_bootstrap_interval(scores):
    assert scores["hard"].faces == 10
    assert scores["hard"].nme_interval is None and scores["hard"].auc_interval is None
    low, high = scores["hard"].fr_interval
    assert low < scores["hard"].fr < high
    copies = Scores.of(np.tile(0.01, 100), np.arange(100) % 19, 0.05)
    assert copies.nme_interval is None


def test_sound_scores_pass(scores):
    assert failed_checks(scores, PROTOCOL, 30) == []
    assert failed_checks(scores, replace(PROTOCOL, faces={"full": 30, "easy": 20, "hard": 10}), None) == []


def test_every_check_can_fail(scores):
    full, easy = scores["full"], scores["easy"]
    cases = [
        ({**scores, "easy": replace(easy, auc=1 - easy.nme / 0.05 - 1e-6)}, PROTOCOL, 30, "easy: AUC"),
        (scores, PROTOCOL, 31, "30 faces were counted, the test split has 31"),
        (scores, replace(PROTOCOL, faces={"full": 31, "easy": 20}), 30, "full 30 of 31, easy 20 of 20"),
        (scores, replace(PROTOCOL, faces={"full": 30, "night": 2}), 30, "night 0 of 2"),
        ({"full": full, "easy": easy}, PROTOCOL, 30, "easy and hard have 20 faces together, full has 30"),
        ({**scores, "full": replace(full, nme=full.nme + 1e-6)}, PROTOCOL, 30, "NME of full"),
        ({**scores, "full": replace(full, fr=full.fr + 1e-6)}, PROTOCOL, 30, "FR of full"),
        ({**scores, "full": replace(full, auc=full.auc + 1e-6)}, PROTOCOL, 30, "AUC of full"),
    ]
    for wrong, protocol, split_faces, says in cases:
        sentences = failed_checks(wrong, protocol, split_faces)
        assert any(says in sentence for sentence in sentences), sentences


def test_nan_is_no_pass(scores):
    broken = {**scores, "full": replace(scores["full"], auc=float("nan"))}
    assert len(failed_checks(broken, PROTOCOL, 30)) == 2  # its bound, and its parts
