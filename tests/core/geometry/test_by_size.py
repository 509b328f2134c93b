"""Objects that are made for each size and kept: the same while they are kept, few at a time, from any thread."""

from itertools import count, islice

from spuproj.geometry.by_size import KEPT, Recent


def test_only_the_newest_results_are_kept():
    recent: Recent[list[int]] = Recent()
    made: list[int] = []

    def get(key):
        return recent.get(key, lambda: made.append(key) or [key])

    keys = [*range(KEPT + 1)] * 2
    assert [get(key) for key in keys] == [[key] for key in keys]
    assert made == keys
    assert get(KEPT) is get(KEPT)
    assert made == keys


class Interrupted:
    """A key; whenever it is looked up, another thread has just asked for as many new ones as are kept."""

    def __init__(self, recent):
        self.recent, self.others, self.asking = recent, count(), False

    def __hash__(self):
        if not self.asking:
            self.asking = True
            for other in islice(self.others, KEPT):
                self.recent.get(other, lambda: "another")
            self.asking = False
        return 1


def test_another_thread_may_push_a_result_out_at_any_moment():
    recent: Recent[str] = Recent()
    key = Interrupted(recent)
    for _ in range(2):
        assert recent.get(key, lambda: "its own") == "its own"
