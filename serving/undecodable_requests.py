"""Bytes that are no message: refused like any other request.

gRPC's own way, where the deserializer raises, answers INTERNAL and keeps some kilobytes of every
such call: a client that sends nothing else would fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.request_error import answered_through, invalid


class UndecodableRequestsInterceptor(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Answers INVALID_ARGUMENT where the bytes of a call are not its request message."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a call, reading its request with suspicion."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _refusing(handler.unary_unary),
            request_deserializer=_or_error(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _or_error(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(encoded: bytes) -> Any:
        try:
            return deserialize(encoded)
        except DecodeError as error:
            return error.with_traceback(None)

    return read


def _refusing(
    answer: Callable[[Any, grpc.ServicerContext], Any],
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer_or_refuse(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, DecodeError):
            with answered_through(context):
                raise invalid(f"the request is no message: {request}")
        return answer(request, context)

    return answer_or_refuse
