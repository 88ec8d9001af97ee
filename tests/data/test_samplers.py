import numpy as np
import pytest

from wingmark.data.samplers import FaceSampler


def sampler(count, replicas=1, rank=0, shuffle=True, seed=0, epoch=0, repeats=None):
    one = FaceSampler(range(count), num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed, repeats=repeats)
    one.set_epoch(epoch)
    return one


def indices(*args, **kwargs) -> list[int]:
    return [index for index, _, _ in sampler(*args, **kwargs)]


def test_training_order_is_a_function_of_seed_and_epoch():
    assert indices(50) == indices(50) != indices(50, epoch=1) != indices(50, seed=1)
    assert indices(50, epoch=1) != indices(50, seed=1)
    assert indices(50, epoch=3, seed=4) == np.random.default_rng([4, 3]).permutation(50).tolist()
    assert {(epoch, copy) for _, epoch, copy in sampler(50, epoch=3)} == {(3, 0)}


@pytest.mark.parametrize("replicas", [2, 3])
def test_processes_together_see_the_batches_of_one(replicas):
    alone = indices(60)
    shares = [indices(60, replicas, rank) for rank in range(replicas)]
    batch = 5
    for step in range(60 // (batch * replicas)):
        together = {i for share in shares for i in share[step * batch : (step + 1) * batch]}
        assert together == set(alone[step * batch * replicas : (step + 1) * batch * replicas])


@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_training_pads_to_equal_lengths(count):
    shares = [indices(count, 4, rank) for rank in range(4)]
    assert {len(share) for share in shares} == {-(-count // 4)}
    assert {len(sampler(count, 4, rank)) for rank in range(4)} == {-(-count // 4)}
    assert set().union(*shares) == set(range(count))


@pytest.mark.parametrize("count", range(20, 33))
def test_full_batches_of_processes_are_those_of_one(count):
    alone = indices(count)
    shares = [
        [index for index, _, _ in FaceSampler(range(count), num_replicas=2, rank=rank, shuffle=True, drop_last=True)]
        for rank in range(2)
    ]
    assert len(shares[0]) // 4 == len(shares[1]) // 4 == count // 8
    for step in range(count // 8):
        together = [i for share in shares for i in share[4 * step : 4 * step + 4]]
        assert sorted(together) == sorted(alone[8 * step : 8 * step + 8])


REPEATS = np.array([1, 3, 1, 20, 2, 1, 7])
SHOWINGS = sorted((index, copy) for index, times in enumerate(REPEATS) for copy in range(times))


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("epoch", [0, 5])
def test_repeated_faces_are_dealt_to_any_number_of_processes(replicas, epoch):
    samplers = [sampler(7, replicas, rank, epoch=epoch, repeats=REPEATS) for rank in range(replicas)]
    shares = [list(one) for one in samplers]
    length = -(-len(SHOWINGS) // replicas)
    assert {len(share) for share in shares} == {len(one) for one in samplers} == {length}
    dealt = [shares[i % replicas][i // replicas] for i in range(length * replicas)]  # in order, one to each in turn
    alone = list(sampler(7, epoch=epoch, repeats=REPEATS))
    padding = length * replicas - len(SHOWINGS)
    assert dealt == [*alone, *alone[:padding]]
    assert sorted((index, copy) for index, _, copy in alone) == SHOWINGS
    assert {epoch for _, epoch, _ in dealt} == {epoch}


def test_repeated_faces_are_shuffled_anew_in_each_epoch():
    orders = [indices(7, epoch=epoch, repeats=REPEATS) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert len({*map(tuple, map(sorted, orders))}) == 1
    assert len({*orders[0][:10]}) > 2  # the copies of a face do not come in a row


@pytest.mark.parametrize("shuffle", [True, False])
def test_to_come_once_is_to_be_not_repeated(shuffle):
    once = np.ones(9, np.int64)
    assert list(sampler(9, shuffle=shuffle, repeats=once)) == list(sampler(9, shuffle=shuffle))


@pytest.mark.parametrize("count", [4, 7, 13])
def test_evaluation_never_repeats(count):
    shares = [indices(count, 4, rank, shuffle=False) for rank in range(4)]
    assert sorted(index for share in shares for index in share) == list(range(count))


def test_a_process_without_faces_gets_one():
    shares = [indices(3, 5, rank, shuffle=False) for rank in range(5)]
    assert shares == [[0], [1], [2], [0], [1]]


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_epoch_goes_on_after_what_was_seen(replicas):
    for rank in range(replicas):
        whole, parts = (sampler(13, replicas, rank, epoch=2, repeats=np.full(13, 2)) for _ in range(2))
        expected = list(whole)
        parts.set_epoch(0)
        parts.resume(2, 5)
        assert list(parts) == expected[5:] and len(parts) == len(whole) == len(expected)
        parts.set_epoch(2)  # Lightning tells it, after loader processes began
        assert list(parts) == expected[5:]
        for one in (whole, parts):
            one.set_epoch(3)
        assert list(parts) == list(whole) != expected
