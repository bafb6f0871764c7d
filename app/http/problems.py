"""Turns every error into `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.errors import (
    AppError,
    BadRequest,
    Draining,
    Forbidden,
    HeadTooLarge,
    Internal,
    PayloadTooLarge,
    RequestTimeout,
    ResourcesExhausted,
    StorageUnavailable,
    Unauthenticated,
    Unhealthy,
    ValidationFailed,
    shortage_problem,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_EVERYWHERE: tuple[type[AppError], ...] = (
    Unauthenticated,
    Forbidden,
    BadRequest,
    RequestTimeout,
    HeadTooLarge,
    PayloadTooLarge,
    ValidationFailed,
    Unhealthy,
    StorageUnavailable,
    ResourcesExhausted,
    Draining,
    Internal,
)


class FieldError(BaseModel):
    """One invalid field of a request; never its value, which may be a secret."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] | None = None


def _schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


_SCHEMAS = _schemas()


def describe(*problems: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: `problems`, and those that any route may answer."""
    by_status: dict[int, list[type[AppError]]] = {}
    for problem in dict.fromkeys((*problems, *_EVERYWHERE)):
        by_status.setdefault(problem.status, []).append(problem)
    return {
        status: {
            "description": "; ".join(f"`{each.code}`: {each.title}" for each in same),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, same in sorted(by_status.items())
    }


def unexpected_problem(error: Exception, path: str) -> AppError:
    """The problem for an unexpected error, which is logged."""
    if (shortage := shortage_problem(error)) is not None:
        log.warning("request failed", path=path, error=shortage.detail)
        return shortage
    log.exception("request failed", path=path)
    return Internal("The service failed; its log says more.")


def problem_response(
    error: AppError,
    request_id: str,
    *,
    status: int | None = None,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`status` overrides the error's own where HTTP has a better one, such as 405."""
    foreign = status not in (None, error.status)
    body: dict[str, Any] = {
        "type": "about:blank" if foreign else f"urn:voipavatar:problem:{error.code}",
        "title": error.title,
        "status": status or error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if errors is not None:
        body["errors"] = errors
    extra = dict(headers or {})
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        extra["WWW-Authenticate"] = "Bearer"
    # ASCII: a field name in `errors` may hold half a surrogate pair, which UTF-8 cannot encode.
    return Response(json.dumps(body), body["status"], extra, MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Answer every error of the app's routes as a problem, and add it to the OpenAPI schema."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schema["components"]["schemas"].update(_SCHEMAS)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does

    @app.exception_handler(AppError)
    async def app_error(request: Request, error: AppError) -> Response:
        return problem_response(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]}
            for each in error.errors()
        ]
        first = errors[0]
        place = ".".join(str(part) for part in first["loc"])
        detail = f"{place}: {first['msg']}"
        if first["loc"] == ["body"] and not _says_json(request):
            detail = "Send the body as JSON, with the header `Content-Type: application/json`."
        return problem_response(ValidationFailed(detail), request.state.request_id, errors=errors)

    @app.exception_handler(HTTPException)
    async def framework_error(request: Request, error: HTTPException) -> Response:
        """The framework's own errors: unknown route, wrong method, malformed JSON."""
        status = {400: 422}.get(error.status_code, error.status_code)
        detail = {
            404: f"There is nothing at {request.url.path}; see /docs.",
            405: f"{request.method} is not allowed at {request.url.path}; see /docs.",
            422: "The body is not valid JSON.",
        }.get(status, str(error.detail))
        headers = dict(error.headers or {})
        if status == 405 and (methods := _allowed(request)):
            headers["Allow"] = methods
        return problem_response(
            ValidationFailed(detail),
            request.state.request_id,
            status=status,
            errors=[],
            headers=headers,
        )


def _says_json(request: Request) -> bool:
    """Whether FastAPI reads the body as JSON; it takes anything else for text."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith(("/json", "+json"))


def _allowed(request: Request) -> str:
    """All methods of a path in the schema; the framework names only its first route's."""
    methods = {
        method.upper()
        for path, described in request.app.openapi()["paths"].items()
        if compile_path(path)[0].match(request.url.path)
        for method in described
    }
    return ", ".join(sorted(methods))
