import pytest

from wingmark.data.samplers import FaceSampler


def sampler(count, replicas=1, rank=0, shuffle=True, seed=0, epoch=0):
    one = FaceSampler(range(count), num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed)
    one.set_epoch(epoch)
    return one


def indices(*args, **kwargs) -> list[int]:
    return [index for index, _ in sampler(*args, **kwargs)]


def test_training_order_is_a_function_of_seed_and_epoch():
    assert indices(50) == indices(50) != indices(50, epoch=1) != indices(50, seed=1)
    assert indices(50, epoch=1) != indices(50, seed=1)
    assert sorted(indices(50, epoch=3)) == list(range(50))
    assert {epoch for _, epoch in sampler(50, epoch=3)} == {3}


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


@pytest.mark.parametrize("count", [4, 7, 13])
def test_evaluation_never_repeats(count):
    shares = [indices(count, 4, rank, shuffle=False) for rank in range(4)]
    assert sorted(index for share in shares for index in share) == list(range(count))


def test_a_process_without_faces_gets_one():
    shares = [indices(3, 5, rank, shuffle=False) for rank in range(5)]
    assert shares == [[0], [1], [2], [0], [1]]
