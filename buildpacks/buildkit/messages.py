"""The protobuf messages of a build: progress, the session's secrets, its health, its files.

Sources: moby/buildkit `api/services/control` (StatusResponse), `session/secrets`, `tonistiigi/fsutil` (Packet), and
grpc's health protocol. Field numbers are the contract; fields that are not read here are left out, as protobuf allows.
The descriptors are made here, because ten small messages do not need generated modules.
"""

from typing import Any

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "cygni.wire"
_TIMESTAMP = "google.protobuf.Timestamp"
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "int32": FieldDescriptorProto.TYPE_INT32,
}

# name -> fields as (number, name, type); `*` marks a repeated field, a type that is no scalar names a message.
_SCHEMA: dict[str, tuple[tuple[int, str, str], ...]] = {
    "StatusResponse": ((1, "vertexes", "*Vertex"), (3, "logs", "*VertexLog")),
    "Vertex": (
        (1, "digest", "string"),
        (2, "inputs", "*string"),
        (3, "name", "string"),
        (4, "cached", "bool"),
        (5, "started", _TIMESTAMP),
        (6, "completed", _TIMESTAMP),
        (7, "error", "string"),
    ),
    "VertexLog": (
        (1, "vertex", "string"),
        (2, "timestamp", _TIMESTAMP),
        (3, "stream", "int64"),
        (4, "msg", "bytes"),
    ),
    "GetSecretRequest": ((1, "id", "string"),),
    "GetSecretResponse": ((1, "data", "bytes"),),
    "HealthCheckResponse": ((1, "status", "int32"),),
    "Packet": ((1, "type", "int32"), (2, "stat", "Stat"), (3, "id", "uint32"), (4, "data", "bytes")),
    "Stat": (
        (1, "path", "string"),
        (2, "mode", "uint32"),
        (3, "uid", "uint32"),
        (4, "gid", "uint32"),
        (5, "size", "int64"),
        (6, "mod_time", "int64"),
        (7, "linkname", "string"),
    ),
}


def _add_field(message: DescriptorProto, number: int, name: str, kind: str) -> None:
    base = kind.removeprefix("*")
    field = message.field.add(name=name, number=number)
    repeated = kind.startswith("*")
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if base in _SCALARS:
        field.type = _SCALARS[base]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{base}" if "." in base else f".{_PACKAGE}.{base}"


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="cygni/wire.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


StatusResponse = _message("StatusResponse")
GetSecretRequest = _message("GetSecretRequest")
GetSecretResponse = _message("GetSecretResponse")
HealthCheckResponse = _message("HealthCheckResponse")
Packet = _message("Packet")
Stat = _message("Stat")
