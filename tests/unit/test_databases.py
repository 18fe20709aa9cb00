"""Which pools a worker opens, and the rights that it asks for at each address."""

from __future__ import annotations

from app.settings import Settings
from app.worker.databases import Databases

COMMON, OWN = "postgresql://common@db/x", "postgresql://own@db/x"


def test_services_with_one_address_share_a_pool() -> None:
    databases = Databases(Settings(database_url=COMMON))
    assert len(databases.openers) == 1
    assert databases.of("relay") is databases.of("operation") is databases.main
    needed = ["ingest", "relay", "project", "query", "access"]
    assert databases.needed() == [("DATABASE_URL", COMMON, needed)]
    assert not databases.is_embedded


def test_nothing_set_is_one_pool_of_the_embedded_server() -> None:
    databases = Databases(Settings())
    assert (databases.is_embedded, len(databases.openers)) == (True, 1)


def test_each_address_has_a_pool_and_the_rights_of_its_parts_are_needed() -> None:
    databases = Databases(Settings(database_url=COMMON, database_url_relay=OWN, database_url_operation=OWN))
    assert len(databases.openers) == 2
    assert databases.of("relay") is databases.of("operation") is not databases.main
    assert databases.needed() == [
        ("DATABASE_URL", COMMON, ["ingest", "project", "query", "access"]),
        ("DATABASE_URL_RELAY", OWN, ["relay", "operate"]),
    ]


def test_a_pool_is_small_only_if_no_service_uses_it_for_requests() -> None:
    settings = Settings(database_url=COMMON, database_url_relay=OWN, database_pool_size=8)
    assert Databases(settings).of("relay")._sizes.common == 1
    shared = Settings(database_url=COMMON, database_url_relay=OWN, database_url_event_handler=OWN, database_pool_size=8)
    assert Databases(shared).of("relay")._sizes.common > 1


def test_an_address_of_a_service_that_does_not_run_is_not_used() -> None:
    databases = Databases(Settings(database_url=COMMON, database_url_query=OWN, services="ingestion"))
    assert [needed[:2] for needed in databases.needed()] == [("DATABASE_URL", COMMON)]
