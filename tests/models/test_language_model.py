"""What a model lacks is refused by name before any work."""

from types import SimpleNamespace

import pytest

from winnow.errors import InputError
from winnow.models.language_model import Unsupported, require

MODEL = SimpleNamespace(name="small", capabilities=frozenset({"next", "score"}))


def test_the_first_capability_that_is_missing_is_named_and_what_is_there_passes():
    require(MODEL, "next", "score")
    require(SimpleNamespace(name="none", capabilities=frozenset()))
    with pytest.raises(Unsupported, match="^small: cannot 'hidden'; use a model of another back end$"):
        require(MODEL, "next", "hidden", "chat")
    assert issubclass(Unsupported, InputError)
