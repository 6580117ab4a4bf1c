import datetime
from collections.abc import Callable

import pytest
from google.protobuf import timestamp_pb2

from scheduler.errors import InvalidRequest
from scheduler.jobs import JobState
from scheduler.records import JobQuery
from scheduler.rpc import filters
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

NOON = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)


def stamp(time: datetime.datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time)
    return message


def paths(read: Callable[[], JobQuery]) -> list[str]:
    with pytest.raises(InvalidRequest) as refusal:
        read()
    return [violation.path for violation in refusal.value.violations]


def test_an_empty_filter_means_all() -> None:
    assert filters.list_filter(pb.ListJobsRequest()) == JobQuery(labels={})
    assert filters.job_filter(pb.JobFilter()) == JobQuery(labels={})


def test_a_list_is_filtered_by_user_states_and_labels() -> None:
    request = pb.ListJobsRequest(
        user_id="user", states=[job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_FAILED], labels={"a": "b"}
    )

    assert filters.list_filter(request) == JobQuery(
        user_id="user", states=frozenset({JobState.QUEUED, JobState.FAILED}), labels={"a": "b"}
    )


def test_a_bulk_call_is_filtered_by_lane_and_time_too() -> None:
    message = pb.JobFilter(
        user_id="user",
        states=[job_pb2.JOB_STATE_FAILED],
        labels={"a": "b"},
        lane="gemini/gemini-3.8-flash",
        from_time=stamp(NOON),
        to_time=stamp(NOON + datetime.timedelta(hours=1)),
    )

    assert filters.job_filter(message) == JobQuery(
        user_id="user",
        states=frozenset({JobState.FAILED}),
        labels={"a": "b"},
        lane="gemini/gemini-3.8-flash",
        from_time=NOON,
        to_time=NOON + datetime.timedelta(hours=1),
    )


@pytest.mark.parametrize("state", [job_pb2.JOB_STATE_UNSPECIFIED, 99])
def test_a_state_that_is_none_is_refused(state: job_pb2.JobState.ValueType) -> None:
    assert paths(lambda: filters.list_filter(pb.ListJobsRequest(states=[state]))) == ["states"]
    assert paths(lambda: filters.job_filter(pb.JobFilter(states=[state]))) == ["filter.states"]


def test_what_the_database_cannot_compare_is_refused_with_its_path() -> None:
    assert paths(lambda: filters.list_filter(pb.ListJobsRequest(user_id="\x00"))) == ["user_id"]
    assert paths(lambda: filters.job_filter(pb.JobFilter(user_id="\x00"))) == ["filter.user_id"]
    assert paths(lambda: filters.job_filter(pb.JobFilter(lane="\x00"))) == ["filter.lane"]


def test_bad_labels_are_refused_with_their_path() -> None:
    assert paths(lambda: filters.list_filter(pb.ListJobsRequest(labels={"": "b"}))) == ["labels[]"]
    assert paths(lambda: filters.job_filter(pb.JobFilter(labels={"a": "b" * 256}))) == ["filter.labels[a]"]


@pytest.mark.parametrize("name", ["from_time", "to_time"])
def test_a_time_beyond_the_calendar_is_refused(name: str) -> None:
    message = pb.JobFilter()
    getattr(message, name).seconds = 10**13

    assert paths(lambda: filters.job_filter(message)) == [f"filter.{name}"]
