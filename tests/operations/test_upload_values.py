"""What a run of uploads came to as values, what comes next for a row, and which addresses are taken."""

from __future__ import annotations

import pytest

from syncer.errors import ConfigError, Refused, SyncerError, Unavailable
from syncer.model import Upload, UploadState, Workspace
from syncer.operations.parcels import Delivered, Kind, Parcel, Uploads
from syncer.operations.upload_address import address_of, source_of
from syncer.operations.upload_one import Step, next_step
from syncer.operations.upload_proof import WITHOUT_FILE

PARCEL = Parcel(Workspace("w"), "a.png")


def ended(*kinds: Kind, errors: tuple[SyncerError, ...] = (), away: int = 0) -> Uploads:
    return Uploads(delivered=[Delivered(kind, PARCEL) for kind in kinds], errors=list(errors), away=away)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (ended(), 0),
        (ended(Kind.UPLOADED, Kind.ALREADY), 0),
        (ended(Kind.UPLOADED, Kind.REFUSED), 3),
        (ended(Kind.PENDING), 3),
        (ended(Kind.UNDECIDED), 3),
        (ended(Kind.PENDING, Kind.PENDING, errors=(Unavailable("away"),), away=2), 8),
        (ended(Kind.UPLOADED, Kind.PENDING, errors=(Unavailable("away"),), away=1), 3),
        (ended(Kind.PENDING, errors=(Refused("closed"),)), 3),
        (ended(errors=(Unavailable("away"),)), 8),
    ],
)
def test_the_exit_code_says_whether_all_is_there(result: Uploads, code: int):
    """Only what is there and proven counts; 8 where the service was away for all of it."""
    assert result.exit_code == code
    assert result.complete is (code == 0)
    assert bool(result.why) is (code != 0)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("image", [None, "i"])
@pytest.mark.parametrize("state", UploadState)
def test_what_may_be_on_its_way_is_never_sent(state: UploadState, image: str | None, again: bool):
    """Not by any row that says that it may have been sent, asked again or not."""
    row = Upload("w", "0" * 64, state, "a", 1, "", "", image)

    step = next_step(row, again=again)

    if state in {UploadState.INTENDED, UploadState.UNKNOWN, UploadState.UPLOADED}:
        assert step in {Step.LOOK, Step.PROVE}
    if not again and (state.settled or state.open):
        assert step is not Step.SEND
    assert next_step(None) is Step.SEND


def test_what_was_undecided_for_want_of_its_file_is_looked_for_with_it():
    """Anything else that is undecided waits for a person."""
    row = Upload("w", "0" * 64, UploadState.UNDECIDED, "a", 1, "", "", reason=f"{WITHOUT_FILE}: image i")

    assert next_step(row) is Step.LOOK
    assert next_step(Upload("w", "0" * 64, UploadState.UNDECIDED, "a", 1, "", "", reason="two of them")) is Step.ASK


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["https://example.com/a.png", "http://example.com:8080/a?sig=x%2Fy", "https://8.8.8.8/a"]
)
def test_a_public_address_is_taken_as_it_is(address: str):
    """A quoted signature stays quoted."""
    assert address_of(f" {address}#part ", private=False) == address


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/a", "file:///etc/passwd", "data:image/png;base64,AAAA", "example.com/a", "https://", "",
        "https://user:pass@example.com/", "https://user@example.com/", "https://exa mple.com/", "http://127.1/",
        "http://0x7f.0.0.1/", "http://2130706433/", "https://example.com/a\nb",
    ],
)  # fmt: skip
def test_what_is_no_address_to_upload_from_is_refused(address: str):
    """Also when private hosts are allowed; without repeating what may be a secret."""
    for private in (False, True):
        with pytest.raises(ConfigError) as raised:
            address_of(address, private=private)
        assert "pass@" not in str(raised.value)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.0.0.1", "[::1]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "[fe80::1]",
        "[fd00::1]", "[::ffff:10.0.0.1]", "0.0.0.0", "100.64.0.1", "printer", "nas.local", "db.internal", "LOCALHOST.",
        "metadata.google.internal", "a.localhost",
    ],
)  # fmt: skip
def test_a_private_host_is_taken_only_if_told(host: str):
    """By its number or by its name."""
    address = f"http://{host}/a.png?sig=secret"

    with pytest.raises(ConfigError) as raised:
        address_of(address, private=False)

    assert "secret" not in str(raised.value)
    assert address_of(address, private=True)


def test_what_is_shown_of_an_address_holds_no_secret():
    """Neither query nor user nor fragment."""
    assert source_of("https://u:p@example.com:443/a%2Fb.png?sig=secret#x") == "https://example.com/a%2Fb.png"
