"""When the keys of tokens are read, how long old keys are used, and what the log says."""

from __future__ import annotations

import asyncio
import logging

import pytest

from headrace.errors import TokenKeysAwayError
from tables.database import is_away
from web.access import jwks
from web.access.jwks import STALE_SECONDS, TokenKeys
from web.access.key_set import SigningKey

from tests.support.data.issuer import jwk, key_set, private_key
from tests.support.data.token_verifiers import ALL, Clock, Source
from tests.support.waiting import until

OLD = key_set(jwk("ES256", private_key("ES256"), "old"))
NEW = key_set(jwk("ES256", private_key("ES256", 1), "new"))
BOTH = key_set(jwk("ES256", private_key("ES256"), "old"), jwk("ES256", private_key("ES256", 1), "new"))
REFRESH = 3600.0


class SlowSource(Source):
    """Answers when a test says so."""

    def __init__(self, content: bytes | Exception) -> None:
        super().__init__(content)
        self.may_answer = asyncio.Event()

    async def read(self) -> bytes:
        self.reads += 1
        await self.may_answer.wait()
        self.reads -= 1
        return await super().read()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_of(source: Source, clock: Clock) -> TokenKeys:
    return TokenKeys(source, ALL, refresh_seconds=REFRESH, clock=clock)


async def find(keys: TokenKeys, kid: str) -> SigningKey | None:
    return await keys.find(kid, "ES256")


async def settle(keys: TokenKeys) -> None:
    """Wait for a read beside requests."""

    async def is_read() -> bool:
        return keys._reading is None

    await until(is_read, 30)


async def test_keys_are_read_once_and_then_known(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    for _ in range(3):
        found = await find(keys, "old")
        assert found is not None
        assert found.kid == "old"
        clock.now += REFRESH / 4
    assert (source.reads, keys.version) == (1, 1)


async def test_requests_that_come_together_share_a_read(clock: Clock) -> None:
    source = SlowSource(OLD)
    keys = keys_of(source, clock)
    waiting = [asyncio.create_task(find(keys, "old")) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    source.may_answer.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(one, SigningKey) for one in found[1:])
    assert source.reads == 1


async def test_an_unknown_kid_is_searched_in_newer_keys_once_a_minute(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content = BOTH
    clock.now += 59
    assert await find(keys, "new") is None
    assert source.reads == 1
    clock.now += 1
    assert await find(keys, "new") is not None
    assert (source.reads, keys.version) == (2, 2)
    for kid in ("x", "y", "z"):
        assert await find(keys, kid) is None
    assert source.reads == 2


async def test_unknown_kids_that_come_together_share_a_read(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    clock.now += 60
    assert await asyncio.gather(*(find(keys, f"kid-{number}") for number in range(20))) == [None] * 20
    assert source.reads == 2


async def test_a_token_without_kid_or_with_another_algorithm_reads_nothing(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    clock.now += 100
    assert await keys.find(None, "ES256") is not None
    assert await keys.find(None, "RS256") is None
    assert await keys.find("old", "RS256") is None
    assert source.reads == 1


async def test_old_keys_are_read_again_beside_requests(clock: Clock) -> None:
    source = SlowSource(OLD)
    source.may_answer.set()
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.may_answer.clear()
    clock.now += REFRESH
    source.content = BOTH
    for _ in range(3):
        assert await find(keys, "old") is not None
    source.may_answer.set()
    await settle(keys)
    assert (source.reads, keys.version) == (2, 2)
    clock.now += 1
    assert await find(keys, "new") is not None
    assert source.reads == 2


async def test_after_twice_the_time_requests_wait_for_newer_keys(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content = NEW
    clock.now += 2 * REFRESH
    assert await find(keys, "old") is None


async def test_the_same_keys_are_no_change(clock: Clock) -> None:
    source = Source(BOTH)
    keys = keys_of(source, clock)
    await find(keys, "old")
    clock.now += 2 * REFRESH
    source.content = BOTH.replace(b", ", b",\n")
    await find(keys, "old")
    assert (source.reads, keys.version) == (2, 1)


async def test_a_document_that_changed_is_read_at_once(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content, source.changed, source.pause_seconds = NEW, True, 1.0
    clock.now += 1
    assert await find(keys, "old") is None
    assert await find(keys, "new") is not None


@pytest.mark.parametrize(
    "failure", [OSError("no route"), b"<html>", b'{"error": 1}', ValueError("odd"), TimeoutError()]
)
async def test_keys_are_used_for_a_day_while_newer_keys_cannot_be_read(
    clock: Clock, failure: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content = failure
    while clock.now < 1_000 + STALE_SECONDS - 60:
        assert await find(keys, "old") is not None
        clock.now += 1_000
    assert "cannot be read from memory" in caplog.text
    clock.now = 1_000 + STALE_SECONDS
    with pytest.raises(TokenKeysAwayError):
        await find(keys, "old")
    source.content = NEW
    clock.now += 60
    assert await find(keys, "new") is not None


async def test_while_the_keys_cannot_be_read_nobody_knows_about_an_unknown_kid(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content = OSError("no route")
    clock.now += 60
    for _ in range(2):
        with pytest.raises(TokenKeysAwayError):
            await find(keys, "new")
    assert await find(keys, "old") is not None
    assert source.reads == 2


async def test_keys_that_never_could_be_read_are_away(clock: Clock) -> None:
    source = Source(OSError("no route"))
    keys = keys_of(source, clock)
    for _ in range(10):
        with pytest.raises(TokenKeysAwayError) as away:
            await find(keys, "old")
        assert is_away(away.value)
        clock.now += 1
    assert source.reads == 2
    source.content = OLD
    clock.now += 5
    assert await find(keys, "old") is not None


async def test_a_source_that_hangs_is_given_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "READ_SECONDS", 0.05)
    keys = keys_of(SlowSource(OLD), clock)
    with pytest.raises(TokenKeysAwayError):
        await find(keys, "old")


async def test_keys_are_read_before_the_first_request(clock: Clock) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    keys.start()
    keys.start()
    await settle(keys)
    assert await find(keys, "old") is not None
    assert source.reads == 1


async def test_a_read_ends_with_the_worker(clock: Clock) -> None:
    keys = keys_of(SlowSource(OLD), clock)
    keys.start()
    await asyncio.sleep(0)
    await keys.stop()
    await keys.stop()
    assert keys._reading is None


async def test_an_empty_set_is_believed_and_named(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    source = Source(OLD)
    keys = keys_of(source, clock)
    await find(keys, "old")
    source.content = key_set()
    clock.now += 2 * REFRESH
    assert await find(keys, "old") is None
    assert "Keys of memory are ignored: it has none" in caplog.text


async def test_the_log_names_keys_that_are_wrong_and_not_those_for_other_uses(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    es256 = jwk("ES256", private_key("ES256"), "good")
    for_encryption = jwk("RS256", private_key("RS256"), "enc") | {"use": "enc"}
    with caplog.at_level(logging.INFO):
        await find(keys_of(Source(key_set(es256, for_encryption)), clock), "good")
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert caplog.messages == ["1 keys of memory verify tokens"]
        await find(keys_of(Source(key_set(es256, {"kty": "oct", "k": "s3cret", "kid": "bad"})), clock), "good")
    assert caplog.records[-1].levelname == "WARNING"
    assert "bad: it has the private member `k`" in caplog.messages[-1]
    assert "s3cret" not in caplog.text
