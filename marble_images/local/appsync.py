"""The AppSync stand-in: the queue's GraphQL API over HTTP, behind an API key.

Answers have AppSync's shapes: a refused key is HTTP 401, a failure of GraphQL is HTTP 200 with
``errors`` that carry ``path``, ``errorType`` and ``message``, and ``data`` that is null or partial.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ariadne import MutationType, ObjectType, QueryType, graphql_sync, make_executable_schema
from flask import Flask, Response, request
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)

from marble_images.local.queue_table import BadToken, QueueTable, Record

_INT_FIELDS = ("height", "size", "width")
_TEXT_FIELDS = (
    *("id", "copyrightStatus", "dateAddedToDynamo", "dateLastProcessed", "dateModifiedInDynamo"),
    *("description", "digitalAccess", "eTag", "filePath", "md5Checksum", "mimeType", "modifiedDate"),
    *("sourceBucketName", "sourceFilePath", "sourceSystem", "sourceType", "sourceUri", "storageSystem"),
    "TYPE",
)

SCHEMA = """
type Query {
  listFilesToProcess(dateLastProcessedBefore: String, limit: Int, nextToken: String): FilesToProcessConnection
  getFileToProcessRecord(filePath: String!): FileToProcess
}
type Mutation {
  saveFileLastProcessedDate(itemId: String!, height: Int, width: Int): FileToProcess
  removeItemToProcess(itemId: String!): RecordsDeleted
}
type FilesToProcessConnection { items: [FileToProcess], nextToken: String }
type RecordsDeleted { recordsDeleted: Int }
type FileToProcess { FIELDS }
""".replace(
    "FIELDS",
    " ".join([f"{name}: String" for name in _TEXT_FIELDS] + [f"{name}: Int" for name in _INT_FIELDS]),
)

DEFAULT_LIMIT = 1000

_log = logging.getLogger(__name__)
# ariadne logs every failure with its stack; those on purpose are no news.
logging.getLogger(f"{__name__}.graphql").setLevel(logging.CRITICAL)


class AppSyncFailure(Exception):
    """A failure inside a resolver, with AppSync's ``errorType``."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def build_app(table: QueueTable, api_key: Callable[[], str]) -> Flask:
    """The WSGI application.

    Parameters
    ----------
    table
        The records.
    api_key
        Gives the key that ``x-api-key`` must be.
    """
    app = Flask(__name__)
    schema = _schema(table)

    @lru_cache(maxsize=256)
    def problems(query: str) -> list[GraphQLError]:
        # Most of an answer's time, and the same for the same text.
        return validate(schema, parse_query(query))

    @app.post("/graphql")
    def graphql() -> Response:
        given = request.headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), api_key().encode()):
            return failure(401, "UnauthorizedException", "You are not authorized to make this call.")
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            return failure(400, "MalformedHttpRequestException", "Request body must be a JSON object.")
        _, result = graphql_sync(
            schema,
            body,
            query_parser=lambda _context, data: parse_query(data["query"]),
            query_validator=lambda *_given, **_named: problems(body["query"]),
            error_formatter=_format_error,
            logger=f"{__name__}.graphql",
        )
        result.setdefault("data", None)
        return _json(200, result)

    return app


def failure(status: int, error_type: str, message: str) -> Response:
    """An answer of AppSync's front door, before any GraphQL."""
    response = _json(status, {"errors": [{"errorType": error_type, "message": message}]})
    response.headers["x-amzn-ErrorType"] = error_type
    return response


@lru_cache(maxsize=256)
def parse_query(query: str) -> DocumentNode:
    """Parse GraphQL; the pipeline sends the same few queries again and again."""
    return parse(query)


def operations(body: bytes) -> tuple[list[str], Any]:
    """The fields that a request asks for at the top, and its variables; nothing for what is no GraphQL."""
    try:
        content = json.loads(body)
        document = parse_query(content["query"])
    except (ValueError, KeyError, TypeError, GraphQLSyntaxError):
        return [], None
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    names: list[str] = []
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            for node in definition.selection_set.selections:
                if isinstance(node, FieldNode):
                    names.append(node.name.value)
                elif getattr(node, "name", None) and node.name.value in fragments:  # type: ignore[attr-defined]
                    spread = fragments[node.name.value]  # type: ignore[attr-defined]
                    names += [
                        n.name.value for n in spread.selection_set.selections if isinstance(n, FieldNode)
                    ]
    return names, content.get("variables")


def _schema(table: QueueTable) -> Any:
    query, mutation, file = QueryType(), MutationType(), ObjectType("FileToProcess")

    @query.field("listFilesToProcess")
    def list_files(
        _root: object,
        _info: GraphQLResolveInfo,
        *,
        dateLastProcessedBefore: str | None = None,  # noqa: N803 - AppSync's names
        limit: int | None = None,
        nextToken: str | None = None,  # noqa: N803
    ) -> Record:
        wanted = DEFAULT_LIMIT if limit is None else limit
        if wanted < 1:
            raise AppSyncFailure(
                "DynamoDB:DynamoDbException", "1 validation error detected: limit must be at least 1"
            )
        try:
            items, token = table.page(dateLastProcessedBefore, wanted, nextToken)
        except BadToken:
            raise AppSyncFailure("BadRequestException", "Invalid pagination token given.") from None
        return {"items": items, "nextToken": token}

    @query.field("getFileToProcessRecord")
    def get_record(_root: object, _info: GraphQLResolveInfo, *, filePath: str) -> Record | None:  # noqa: N803
        return table.get(filePath)

    @mutation.field("saveFileLastProcessedDate")
    def save_date(
        _root: object,
        _info: GraphQLResolveInfo,
        *,
        itemId: str,  # noqa: N803
        height: int | None = None,
        width: int | None = None,
    ) -> Record:
        return table.mark_processed(itemId, height, width)

    @mutation.field("removeItemToProcess")
    def remove_item(_root: object, _info: GraphQLResolveInfo, *, itemId: str) -> Record | None:  # noqa: N803
        return {"recordsDeleted": None} if table.remove(itemId) else None

    for name in _INT_FIELDS:
        file.set_field(name, _strict_int)
    for name in _TEXT_FIELDS:
        file.set_field(name, _text)
    return make_executable_schema(SCHEMA, query, mutation, file)


def _strict_int(record: Record, info: GraphQLResolveInfo) -> int | None:
    value = record.get(info.field_name)
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
    if value is None or (whole and -(2**31) <= value < 2**31):
        return None if value is None else int(value)
    place = "/".join(str(part) for part in info.path.as_list())
    raise AppSyncFailure(
        "SerializationError",
        f"Can't serialize value (/{place}) : Unable to serialize `{value}` as a valid Int.",
    )


def _text(record: Record, info: GraphQLResolveInfo) -> str | None:
    value = record.get(info.field_name)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _format_error(error: GraphQLError, _debug: bool = False) -> dict[str, Any]:
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    if isinstance(cause, AppSyncFailure):
        kind = cause.error_type
    else:
        kind = "ValidationError" if error.path is None else "InternalFailure"
        if cause is not None:
            _log.error("a resolver failed", exc_info=cause)
    locations = [{"line": at.line, "column": at.column, "sourceName": None} for at in error.locations or ()]
    return {
        "path": error.path,
        "data": None,
        "errorType": kind,
        "errorInfo": None,
        "locations": locations,
        "message": error.message,
    }


def _json(status: int, content: Any) -> Response:
    return Response(json.dumps(content), status, content_type="application/json;charset=UTF-8")
