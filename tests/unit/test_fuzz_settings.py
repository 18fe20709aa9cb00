"""Whatever the environment says: settings, or a line that names the variable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings, read_settings
from app.worker.banner import banner
from app.worker.broker_address import mqtt_address
from headrace.errors import InvalidSettingError
from headrace.process.terminal import UNSAFE, printable

from tests.support.fuzzing import fuzz

URL_NAMES = st.sampled_from(["DATABASE_URL", "BROKER_URL", "MQTT_URL"])
NAMES = URL_NAMES | st.sampled_from(
    [*(name.upper() for name in Settings.__struct_fields__), "DATABASE_URL_FILE", "MQTT_URL_FILE"]
)
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["postgresql", "postgres", "kafka", "mqtt", "mqtts", "x", ""]),
    st.sampled_from(["", "u@", "u:s3cret@", ":@", "u:s3@cret@", "%zz:%s3cret@"]),
    st.text("ab.:[]@,0159-%/?#", max_size=12),
    st.sampled_from(["", "/x", "/x?sslmode=no", "?port=x", "/?password=s3cret&port=y", "#"]),
)
NUMBERS = (
    st.integers().map(str) | st.floats().map(str) | st.sampled_from(["9" * 5_000, "1_000", "\u0661", "0x10", "1e400"])
)
VALUES = st.text(max_size=20) | NUMBERS | st.sampled_from(["on", "off", "/", "/dev/null", "ingestion,,query"])
# A setting may be refused because another needs it: AUTH=jwt, an address of its own for each service.
NEEDED = frozenset({"QUERY_PORT", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_KEYS_URL", "JWT_KEYS_FILE", "DATABASE_URL"})


@fuzz(300)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(URL_NAMES, URLS, max_size=2))
def test_any_environment_gives_settings_or_a_refusal(others: dict[str, str], urls: dict[str, str]) -> None:
    environment = others | urls
    try:
        settings = read_settings(environment)
    except InvalidSettingError as error:
        shown = str(error)
        assert shown.split("=", maxsplit=1)[0] in {*environment, *NEEDED}
    else:
        if settings.mqtt_url != "off":
            mqtt_address(settings, host_name="h")
        shown = repr(settings) + banner(settings)
    assert "cret" not in shown.replace("client_secret", "")
    assert UNSAFE.search(printable(shown)) is None
