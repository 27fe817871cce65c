"""What a JSON Schema cannot say, or schemathesis cannot know of itself."""

import schemathesis

# A handle and an NSID are bounded as a whole, their patterns bound only their parts.
HANDLE_LENGTH_MAX = 253
NSID_LENGTH_MAX = 317
# REST says 400 of a cursor alone; XRPC says 400 of every refusal, and names it.
NAMED = {"InvalidCursor", "ActorNotFound", "ListNotFound"}


def fits(text):
    """Whether the handle and the NSID in a text are as short as they must be."""
    authority, _, rest = text.removeprefix("at://").partition("/")
    collection = rest.partition("/")[0]
    is_handle = not authority.startswith("did:")
    return (not is_handle or len(authority.removeprefix("@")) <= HANDLE_LENGTH_MAX) and len(collection) <= NSID_LENGTH_MAX


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_case(ctx, case):
    """Of what the schema allows, only what the sentences beside it allow too."""
    if not is_positive(case):
        return True
    values = [*(case.query or {}).values(), *(case.path_parameters or {}).values()]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return all(fits(text) for text in texts if isinstance(text, str) and "." in text)


@schemathesis.check
def refusals_are_named(ctx, response, case):
    """A request that the schema allows is not refused for breaking it."""
    if response.status_code != 400 or not is_positive(case):
        return
    body = response.json()
    is_named = body.get("error") in NAMED or str(body.get("detail")).startswith("cursor: ")
    assert is_named, f"a request that the schema allows was refused: {body}"
