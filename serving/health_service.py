"""The gRPC health protocol: Check, which Kubernetes and load balancers ask.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Its two messages are described here
instead of adding a package for them; Watch is UNIMPLEMENTED, which the protocol allows for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from serving.request_error import RequestError, answered_through

_PACKAGE = "grpc.health.v1"
_PREDICTION_SERVICE = "tensorflow.serving.PredictionService"

SERVING = 1
NOT_SERVING = 2


def _messages() -> tuple[Any, Any]:
    """Classes of HealthCheckRequest and HealthCheckResponse.

    Their pool is their own: a program that also uses gRPC's health package declares them again.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="health.proto", package=_PACKAGE, syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    statuses = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=field.TYPE_ENUM,
        label=field.LABEL_OPTIONAL,
        type_name=f".{_PACKAGE}.HealthCheckResponse.ServingStatus",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{request.name}")),
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{response.name}")),
    )


def add_health_service(server: grpc.Server, is_ready: Callable[[], bool]) -> None:
    """Answer health checks about the server ("") and its PredictionService.

    Args:
      server: gets the service; not started yet.
      is_ready: whether a prediction would be answered now.
    """
    request_class, response_class = _messages()

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        with answered_through(context):
            if request.service not in ("", _PREDICTION_SERVICE):
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here"
                )
        return response_class(status=SERVING if is_ready() else NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=request_class.FromString,
        response_serializer=response_class.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(f"{_PACKAGE}.Health", {"Check": handler})]
    )
