"""What several files of tests ask for: questions of an easy rule, and a small model that learned to refuse by it."""

import pytest

from tests.evaluate.refusal import easy_questions, easy_scene


@pytest.fixture(scope="module")
def asked():
    return easy_questions()


@pytest.fixture(scope="module")
def scene(asked):
    return easy_scene(asked)
