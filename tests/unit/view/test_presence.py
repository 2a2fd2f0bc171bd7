"""Since when no node has a session, where some had."""

from rr.view.presence import Presence


def test_nobody_is_missed_who_never_came() -> None:
    presence = Presence()
    presence.see(0, 100.0)
    assert presence.alone_for(200.0) == 0.0


def test_the_time_counts_from_the_last_one_that_went_until_somebody_is_back() -> None:
    presence = Presence()
    for nodes, now in ((3, 100.0), (1, 110.0), (0, 120.0), (0, 150.0)):
        presence.see(nodes, now)
    assert (presence.alone_for(180.0), presence.most) == (60.0, 3)
    presence.see(1, 181.0)
    assert presence.alone_for(300.0) == 0.0
