import os
import sys
import uuid

import pytest
from daytona import CreateSandboxFromSnapshotParams, Daytona, DaytonaConfig

sys.dont_write_bytecode = True


def config(**change) -> DaytonaConfig:
    return DaytonaConfig(**{"api_key": os.environ["DAYTONA_API_KEY"], "api_url": os.environ["DAYTONA_API_URL"], **change})


@pytest.fixture(scope="session")
def daytona():
    return Daytona(config())


@pytest.fixture
def make(daytona):
    """Makes sandboxes, of the snapshot tiny unless told otherwise, that are deleted when the test ends."""
    made = []

    def create(**params):
        box = daytona.create(CreateSandboxFromSnapshotParams(**{"snapshot": "tiny", "name": "e2e-" + uuid.uuid4().hex[:12], **params}))
        made.append(box)
        return box

    yield create
    for box in made:
        try:
            box.delete()
        except Exception as e:  # some tests delete their own
            if getattr(e, "status_code", None) not in (404, 409):
                raise


@pytest.fixture(scope="module")
def tiny(daytona):
    box = daytona.create(CreateSandboxFromSnapshotParams(snapshot="tiny"))
    yield box
    box.delete()


@pytest.fixture(scope="module")
def base(daytona):
    box = daytona.create()  # nothing named: the base snapshot, Python
    yield box
    box.delete()
