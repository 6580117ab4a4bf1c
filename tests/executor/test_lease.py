from hypothesis import given
from hypothesis import strategies as st

from executor.lease import LEASE_SHARE, LOST_SECONDS, Lease

TIMES = st.floats(min_value=0, max_value=1e9)


@given(now=TIMES)
def test_a_lease_that_was_never_renewed_does_not_hold(now: float) -> None:
    assert not Lease().holds(now)


def test_a_lease_holds_for_seven_seconds_from_the_sending() -> None:
    lease = Lease()
    lease.renew(100.0)

    assert [lease.holds(now) for now in (100.0, 106.9, 107.0, 120.0)] == [True, True, False, False]


@given(sent=st.lists(TIMES, min_size=1), now=TIMES)
def test_the_latest_sending_counts_in_whatever_order_they_are_confirmed(sent: list[float], now: float) -> None:
    lease = Lease()
    for sent_at in sent:
        lease.renew(sent_at)

    assert lease.holds(now) == (now - max(sent) < LEASE_SHARE * LOST_SECONDS)


def test_a_lease_fits_schedulers_that_give_up_sooner() -> None:
    lease = Lease()
    lease.fit(2.0)
    lease.renew(100.0)

    assert [lease.holds(now) for now in (101.3, 101.5)] == [True, False]
