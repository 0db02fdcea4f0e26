"""The nouns of the API as JSON Schema: what every answer looks like, and what may be set.

Why: clients are written against these, so they are checked against every answer in the tests. They
are made from what is declared; only the settings of projects and users, which have tables of their
own, are put in here.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from synergy.api.routing import TEXT, Schema
from synergy.api.visibility import operators_only
from synergy.core.declared.answers import COMPONENTS as ANSWERS
from synergy.core.declared.answers.projects import Project, ProjectWithUsers, TriedProject, User
from synergy.core.declared.answers.requests import Request
from synergy.core.declared.fields import Setting, shown_schemas_of
from synergy.core.declared.kinds import or_null
from synergy.core.declared.settings import CLASS_SETTINGS, PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.shapes import answer_schema, fields_of, object_of, ref

STRING: Final = {"type": "string"}
NAME: Final = TEXT


def wrapped(**parts: Schema) -> Schema:
    """Return the schema of an object with just these properties, all of them there."""
    return object_of(parts, list(parts))


def listed(plural: str, name: str, **more: Schema) -> Schema:
    """Return the schema of a page of a list."""
    items = {"type": "array", "items": ref(name)}
    return wrapped(**{plural: items, "next": or_null(STRING), **more})


def _shown(settings: Sequence[Setting]) -> dict[str, Schema]:
    """Return the schemas of settings as answers show them; what only operators see is marked."""
    schemas = shown_schemas_of(settings)
    hidden = {one.name for one in settings if one.operators_only}
    return {
        name: operators_only(or_null(schema)) if name in hidden else schema
        for name, schema in schemas.items()
    }


def _with_settings(
    answer: type, after: str, settings: Sequence[Setting], nouns: Mapping[str, type]
) -> dict[str, Schema]:
    """Return the schemas of an answer's fields, with settings behind one of them."""
    found: dict[str, Schema] = {}
    for name, schema in fields_of(answer, nouns).items():
        found[name] = schema
        if name == after:
            found |= _shown(settings)
    return found


def project_schema(settings: Sequence[Setting], nouns: Mapping[str, type] = ANSWERS) -> Schema:
    """Return the schema of a project that has these settings; some answers show more of it."""
    always = _with_settings(Project, "domain_id", settings, nouns)
    users = fields_of(ProjectWithUsers, nouns)["users"]
    effects = fields_of(TriedProject, nouns)["effects"]
    return object_of({**always, "users": users, "effects": effects}, always)


def user_schema(settings: Sequence[Setting], nouns: Mapping[str, type] = ANSWERS) -> Schema:
    """Return the schema of a user of a project who has these settings."""
    return wrapped(**_with_settings(User, "name", settings, nouns))


def request_schema(settings: Sequence[Setting], nouns: Mapping[str, type] = ANSWERS) -> Schema:
    """Return the schema of a request whose class has these settings."""
    fields = _with_settings(Request, "qos", settings, nouns)
    return object_of(fields, [name for name in fields if name not in Request.__optional_keys__])


def components_of(nouns: Mapping[str, type]) -> dict[str, Schema]:
    """Return the schemas of answers by name; one that is a part of another is referred to."""
    with_settings = {
        "Project": {
            **project_schema(PROJECT_SETTINGS, nouns),
            "description": "A managed project; `users` only when it is shown alone, `effects` "
            "after a dry run.",
        },
        "Request": {
            **request_schema(CLASS_SETTINGS, nouns), "description": str(Request.__doc__)
        },
        "User": {**user_schema(USER_SETTINGS, nouns), "description": "A user of a project."},
    }  # fmt: skip
    return {
        name: with_settings.get(name)
        or {**answer_schema(answer, nouns), "description": answer.__doc__ or ""}
        for name, answer in nouns.items()
    }


COMPONENTS: Final[Mapping[str, Schema]] = components_of(ANSWERS)
