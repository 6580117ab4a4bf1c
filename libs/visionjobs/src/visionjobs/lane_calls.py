"""The half of the client that operators use: every call of AdminService that looks after lanes and submissions."""

from visionjobs.calls import Calls
from visionjobs.lanes import Lane
from visionjobs.mapping import lanes as messages


class LaneCalls:
    """Looks after lanes. A call that is repeated changes nothing more, so all are repeated while nobody answers."""

    _calls: Calls

    async def list_lanes(self) -> tuple[Lane, ...]:
        """Return every lane with its limits, its circuit breaker and its jobs, by name."""
        answer = await self._calls.unary(self._calls.admin.ListLanes, messages.list_request())
        return tuple(messages.lane(lane) for lane in answer.lanes)

    async def update_lane(
        self,
        lane: str,
        *,
        requests_per_minute: int | None = None,
        input_tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        max_in_flight: int | None = None,
        dollars_per_10_minutes: float | None = None,
    ) -> Lane:
        """Change the limits of a lane: None leaves one as it is, 0 means no limit.

        Args:
            lane: Its name.
            requests_per_minute: Calls a minute.
            input_tokens_per_minute: Input tokens a minute.
            requests_per_day: Calls a day.
            max_in_flight: Calls at once.
            dollars_per_10_minutes: US dollars in any ten minutes.

        Raises:
            NotFound: There is no lane of that name.
        """
        request = messages.update_request(
            lane,
            requests_per_minute=requests_per_minute,
            input_tokens_per_minute=input_tokens_per_minute,
            requests_per_day=requests_per_day,
            max_in_flight=max_in_flight,
            dollars_per_10_minutes=dollars_per_10_minutes,
        )
        return messages.lane((await self._calls.unary(self._calls.admin.UpdateLane, request)).lane)

    async def pause_lane(self, lane: str) -> tuple[Lane, ...]:
        """Hand out no more work of a lane, "*" for all, and return the paused lanes. Running calls go on.

        Raises:
            NotFound: There is no lane of that name.
        """
        request = messages.pause_request(lane)
        answer = await self._calls.unary(self._calls.admin.PauseLane, request)
        return tuple(messages.lane(each) for each in answer.lanes)

    async def resume_lane(self, lane: str) -> tuple[Lane, ...]:
        """End the pause of a lane, "*" for all, and the stop that billing or a retired model caused.

        Returns the lanes that go on.

        Raises:
            NotFound: There is no lane of that name.
        """
        request = messages.resume_request(lane)
        answer = await self._calls.unary(self._calls.admin.ResumeLane, request)
        return tuple(messages.lane(each) for each in answer.lanes)

    async def reset_breaker(self, lane: str) -> Lane:
        """Close the circuit breaker of a lane now, and forget the failures that it counted.

        Raises:
            NotFound: There is no lane of that name.
        """
        request = messages.reset_breaker_request(lane)
        return messages.lane((await self._calls.unary(self._calls.admin.ResetBreaker, request)).lane)

    async def set_accepting(self, accepting: bool) -> bool:  # noqa: FBT001 - the verb says what the value means
        """Say whether submissions are taken, and return whether they are now."""
        request = messages.accepting_request(accepting=accepting)
        return (await self._calls.unary(self._calls.admin.SetAccepting, request)).accepting
