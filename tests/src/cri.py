"""One call of Kubernetes' Container Runtime Interface: cri.py DESCRIPTORS SOCKET METHOD < REQUEST.json > REPLY.json

DESCRIPTORS is what `protoc --descriptor_set_out` makes of cri.proto.
"""

import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

descriptors, socket, method = sys.argv[1:]
pool = descriptor_pool.DescriptorPool()
files = descriptor_pb2.FileDescriptorSet()
with open(descriptors, "rb") as file:
    files.ParseFromString(file.read())
for file in files.file:
    pool.Add(file)


def message(name):
    descriptor = pool.FindMessageTypeByName("runtime.v1." + name)
    # The newer libraries have a function for what was a method.
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


# Without it the socket's path would be sent as :authority, which Go's servers refuse.
channel = grpc.insecure_channel("unix://" + socket, options=[("grpc.default_authority", "localhost")])
call = channel.unary_unary(
    "/runtime.v1.RuntimeService/" + method,
    request_serializer=message(method + "Request").SerializeToString,
    response_deserializer=message(method + "Response").FromString,
)
request = json_format.Parse(sys.stdin.read(), message(method + "Request")())
try:
    reply = call(request, timeout=60)
except grpc.RpcError as error:
    sys.exit(f"{method}: {error.code().name}: {error.details()}")
print(json_format.MessageToJson(reply, including_default_value_fields=True, preserving_proto_field_name=True))
