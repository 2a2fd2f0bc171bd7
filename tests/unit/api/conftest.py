"""One served appliance a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.api.serving import Serving, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running
